//! Errors of files: always the path, what went wrong, and what to do.

use std::{io, path::Path};

use llms_core::{Error, ErrorCode};

/// An I/O error on `path`.
pub(crate) fn io_error(op: &'static str, path: &Path, e: io::Error) -> Error {
    let advice = match e.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions, or choose another --output-dir",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another --output-dir"
        }
        io::ErrorKind::FileTooLarge => {
            "raise the limit of file sizes (ulimit -f), or choose another --output-dir"
        }
        io::ErrorKind::AlreadyExists => "it is never overwritten; choose another name",
        _ => "choose another place with --output-dir",
    };
    Error::new(op, ErrorCode::Internal, format!("{}: {e}; {advice}", path.display())).with_source(e)
}

/// A file whose content is not what it should be.
pub(crate) fn corrupt(op: &'static str, path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(op, ErrorCode::MalformedResponse, format!("{}: {what}", path.display()))
}
