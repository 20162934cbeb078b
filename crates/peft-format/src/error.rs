//! The error of every reader and writer here: which file, which place, what was expected, what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::targets::TargetError;

/// Result with a [`FormatError`].
pub type Result<T, E = FormatError> = std::result::Result<T, E>;

/// What can be wrong with a file, a folder, a configuration or a request made of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The path does not hold the kind of file that was asked for.
    #[error("`{}`: expected {expected}, but {found}; {fix}", path.display())]
    WrongKind {
        /// The file or folder.
        path: PathBuf,
        /// What should have been there.
        expected: &'static str,
        /// What is there instead.
        found: String,
        /// What the user should do.
        fix: String,
    },
    /// The bytes are not what the format promises.
    #[error("`{}` is damaged at {place}: {reason}; download or write the file again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The tensor, key or part of the file.
        place: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A PyTorch file asks for more than the tensors of a state dict.
    #[error("`{}`, {place}: expected {expected}, found {found}; {fix}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The opcode's byte, or the entry of the state dict.
        place: String,
        /// What is read.
        expected: String,
        /// What is there instead; a class or function by its full name.
        found: String,
        /// What the user should do.
        fix: &'static str,
    },
    /// A size bound was exceeded.
    #[error("`{}`: {what} is {size} bytes, above the limit of {limit}; this is not a valid file of its kind", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file name that would lead out of its folder.
    #[error("`{}`: {place} names the file `{name}`; expected a plain file name inside the folder, fix or re-download the index", path.display())]
    UnsafePath {
        /// The file that holds the name.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// The offending name.
        name: String,
    },
    /// A tensor that was asked for does not exist.
    #[error("`{}` has no tensor `{tensor}`{near}; check that the file belongs to this model", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor asked for.
        tensor: String,
        /// A ready-made "did you mean" clause, possibly empty.
        near: String,
    },
    /// A tensor exists but cannot be used as asked.
    #[error("`{}`, tensor `{tensor}`: expected {expected}, found {found}; {fix}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
        /// What the user should do.
        fix: &'static str,
    },
    /// A file is not the JSON that it should be.
    #[error("`{}` is not valid JSON: {reason}; fix the file by hand or fetch it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        reason: String,
    },
    /// A configuration value of the wrong type or range, or one that is missing.
    #[error("`{}`, key `{key}`: expected {expected}, found {found}; correct the value", path.display())]
    Field {
        /// The configuration file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The configuration asks for something that the reader does not implement.
    #[error("`{}`, key `{key}` = {value}: this {peft_type} option changes the result and is not supported{near}; re-train or convert the adapter without it", path.display())]
    Unsupported {
        /// The configuration file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value as JSON, shortened.
        value: String,
        /// The adapter type.
        peft_type: String,
        /// A ready-made "did you mean" clause, possibly empty.
        near: String,
    },
    /// A writer was used out of order or with other data than announced.
    #[error("writing `{}`, tensor `{tensor}`: expected {expected}, found {found}; the file was not written", path.display())]
    Write {
        /// The file being written.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the writer had to get.
        expected: String,
        /// What it got.
        found: String,
    },
    /// A target pattern failed.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl FormatError {
    /// Wraps an I/O error with the path and the action; made for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn corrupt(
        path: &Path,
        place: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            place: place.into(),
            reason: reason.into(),
        }
    }
}

/// Shortens a string that comes from a file, so that one hostile key cannot flood the terminal.
pub fn shorten(text: &str) -> String {
    const LIMIT: usize = 120;
    let mut out = String::with_capacity(text.len().min(LIMIT + 4));
    for c in text.chars().take(LIMIT) {
        // Control characters would let a file name rewrite the terminal.
        out.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}
