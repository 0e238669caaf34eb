//! What the command line says when it cannot go on: one sentence, the remedy, and an exit code.

use std::path::Path;

use portolan_capture::TapError;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// What is printed, without the program's name.
    pub message: String,
    /// Exit code: 1 error, 2 usage, 5 Portolan itself failed.
    pub code: u8,
}

impl Failure {
    /// An error: exit code 1.
    pub fn error(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// A usage error: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// Portolan itself failed: exit code 5.
    pub fn defect(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: crate::watchdog::EXIT_CODE }
    }

    /// A file could not be written.
    pub fn cannot_write(path: &Path, error: &std::io::Error) -> Self {
        Self::error(format!("{}: cannot be written: {error}", path.display()))
    }

    /// A file could not be read.
    pub fn cannot_read(path: &Path, error: &std::io::Error) -> Self {
        Self::error(format!("{}: cannot be read: {error}", path.display()))
    }
}

impl From<TapError> for Failure {
    fn from(error: TapError) -> Self {
        Self::error(error.to_string())
    }
}
