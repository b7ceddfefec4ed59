// SPDX-License-Identifier: GPL-3.0-or-later
//! A failed boot: which step, and the sentence for the person at the console.

use bootspec::Exit;

/// Why the boot story ended early.
#[derive(Debug)]
pub struct Failure {
    /// The step that failed, as exit code.
    pub exit: Exit,
    /// What is wrong, with the values, and what to do: one sentence.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with a sentence of its own.
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, error: anyhow::Error::msg(sentence.into()) }
    }
}

/// Give errors the exit code of their step.
pub trait Step<T> {
    /// This error ends the boot with `exit`.
    fn step(self, exit: Exit) -> Result<T, Failure>;
}

impl<T> Step<T> for anyhow::Result<T> {
    fn step(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error })
    }
}

/// The innermost cause as a person reads it: `Connection refused`, not the chain above it.
pub fn cause(error: &anyhow::Error) -> String {
    let text = error.root_cause().to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_short() {
        let io = std::io::Error::from_raw_os_error(111);
        let e = anyhow::Error::from(io).context("fetching x");
        assert_eq!(cause(&e), "connection refused");
    }
}
