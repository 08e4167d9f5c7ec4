//! Exit codes, documented in the README and in `--help`.

use std::{fmt, process::ExitCode};

use llms_core::{Error, ErrorCode, config::ConfigErrors};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine.
    Ok = 0,
    /// A gate or threshold failed.
    Gate = 1,
    /// Wrong usage or configuration; nothing was sent.
    Usage = 2,
    /// The run failed, a target could not be reached, or too many requests failed.
    Run = 3,
    /// The result is INVALID, under `--strict`.
    Invalid = 4,
    /// A gate could not decide.
    Inconclusive = 5,
    /// Interrupted; the partial result is saved.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends the program: one message that says what was wrong, where, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl Failure {
    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// A run that failed.
    pub fn run(message: impl Into<String>) -> Self {
        Self { exit: Exit::Run, message: message.into() }
    }

    /// Puts the place in front of the message.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    /// What is wrong before anything was sent is usage; the rest is a failed run.
    fn from(e: Error) -> Self {
        let usage = matches!(
            e.code(),
            ErrorCode::InvalidConfig
                | ErrorCode::InvalidInput
                | ErrorCode::UnsupportedProvider
                | ErrorCode::InvalidModel
                | ErrorCode::InvalidRequest
                | ErrorCode::Authentication
        );
        Self { exit: if usage { Exit::Usage } else { Exit::Run }, message: with_causes(&e) }
    }
}

/// The message with those causes that it does not name itself.
fn with_causes(e: &Error) -> String {
    let mut message = e.message().to_owned();
    let mut cause = std::error::Error::source(e);
    while let Some(c) = cause {
        let text = c.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = c.source();
    }
    message
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let lines: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
        Self::usage(lines.join("\n"))
    }
}
