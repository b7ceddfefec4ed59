// SPDX-License-Identifier: GPL-3.0-or-later
//! How images share the server's link when machines want several at once.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The priority of an image, 1 to 9: its weight when the seeder chooses whose
/// piece goes next. Twice the priority, twice the share of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

/// Why something is not a priority.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a valid priority: write a number from 1 (least) to 9 (most); 5 is usual")]
pub struct BadPriority(String);

impl Priority {
    /// The number, 1 to 9.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Whether it is the one that an image has when nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<u8> for Priority {
    type Error = BadPriority;
    fn try_from(n: u8) -> Result<Self, BadPriority> {
        if (1..=9).contains(&n) { Ok(Self(n)) } else { Err(BadPriority(n.to_string())) }
    }
}

impl From<Priority> for u8 {
    fn from(p: Priority) -> u8 {
        p.0
    }
}

impl FromStr for Priority {
    type Err = BadPriority;
    fn from_str(text: &str) -> Result<Self, BadPriority> {
        let read = text.parse::<u8>().ok().and_then(|n| Self::try_from(n).ok());
        read.ok_or_else(|| BadPriority(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_nine_and_nothing_else() {
        for n in 1..=9u8 {
            let p: Priority = n.to_string().parse().unwrap();
            assert_eq!((p.get(), p.is_default()), (n, n == 5));
        }
        for bad in ["", "0", "10", "-1", "high", "256"] {
            let why = bad.parse::<Priority>().unwrap_err().to_string();
            assert_eq!(
                why,
                format!(
                    "'{bad}' is not a valid priority: write a number from 1 (least) to 9 (most); 5 is usual"
                )
            );
        }
    }
}
