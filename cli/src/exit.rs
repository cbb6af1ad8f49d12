//! What the process ends with. The numbers are part of the contract of the command line: scripts branch on them.

use std::fmt;
use std::process::ExitCode;

/// How a command ended. Also in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It failed; standard error says why.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nobody is there: the user, room or connection does not exist at the moment.
    Nobody = 3,
    /// Nothing listens on the bus: no router, or no NATS account permission that would let one hear us.
    NoResponders = 4,
    /// No answer in time.
    TimedOut = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error and the status it ends the process with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status.
    pub(crate) exit: Exit,
    /// What went wrong, outermost first.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// A failure with a status of its own.
    pub(crate) fn new(exit: Exit, error: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{error}") }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(error: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

/// What each command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

/// An error and its causes on one line. Libraries that print their cause as part of themselves do not make it stutter.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let cause = anyhow::anyhow!("refused").context("IO error: refused").context("cannot reach NATS");

        assert_eq!(chain(&cause), "cannot reach NATS: IO error: refused");
    }
}
