// SPDX-License-Identifier: GPL-3.0-or-later
//! What is odd or wrong on a kernel command line.

use std::fmt;

/// Something about a command line that its author should hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// No such parameter: a machine goes on without it. The guess is the nearest name.
    Unknown {
        /// As it was written.
        name: String,
        /// What was meant, perhaps.
        guess: Option<String>,
    },
    /// A value that cannot be understood: the boot stops.
    Bad {
        /// The parameter's name.
        name: String,
        /// What is wrong with the value, and what to write.
        why: String,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Unknown { name, guess: Some(guess) } => {
                write!(f, "unknown kernel parameter {name}: did you mean {guess}?")
            }
            Remark::Unknown { name, guess: None } => write!(f, "unknown kernel parameter {name}"),
            Remark::Bad { name, why } => write!(f, "kernel parameter {name}: {why}"),
        }
    }
}
