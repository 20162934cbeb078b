//! Files from strangers: regular ones only, and no larger than expected.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{FormatError, Result};

/// Reads a regular file of at most `limit` bytes; `what` names it in the error of a larger one.
///
/// # Errors
/// [`FormatError::TooLarge`], [`FormatError::WrongKind`] and [`FormatError::Io`].
pub fn read(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells "at the limit" from "above it", whatever the size claims.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(FormatError::io("read", path))?;
    if bytes.len() as u64 > limit {
        let size = std::fs::metadata(path).map_or(limit + 1, |m| m.len());
        return Err(FormatError::TooLarge {
            path: path.to_owned(),
            what,
            size,
            limit,
        });
    }
    refuse_pointer(path, &bytes)?;
    Ok(bytes)
}

/// What stands at the beginning of the small file that Git LFS leaves where the real one is missing.
const LFS: &[u8] = b"version https://git-lfs";

/// Refuses what Git LFS leaves in place of a file, by its first bytes.
///
/// # Errors
/// [`FormatError::WrongKind`].
pub fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(LFS) {
        return Ok(());
    }
    Err(FormatError::WrongKind {
        path: path.to_owned(),
        expected: "the file itself",
        found: "it is a Git LFS pointer, which only says where the file is".into(),
        fix: "fetch it with `git lfs pull`, or download it".into(),
    })
}

/// Opens a file after checking that it is one: opening a FIFO would block for ever.
///
/// # Errors
/// [`FormatError::WrongKind`] and [`FormatError::Io`].
pub fn open(path: &Path) -> Result<File> {
    let meta = std::fs::metadata(path).map_err(FormatError::io("open", path))?;
    if !meta.is_file() {
        let found = if meta.is_dir() {
            "it is a directory"
        } else {
            "it is a special file"
        };
        return Err(FormatError::WrongKind {
            path: path.to_owned(),
            expected: "a regular file",
            found: found.into(),
            fix: "give the path of the file itself".into(),
        });
    }
    File::open(path).map_err(FormatError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::write(&path, vec![b' '; 101]).unwrap();
        assert!(read(&path, "file", 101).is_ok());
        let error = read(&path, "file", 100).unwrap_err();
        assert!(
            matches!(error, FormatError::TooLarge { size: 101, .. }),
            "{error}"
        );
        assert!(read(dir.path(), "file", 100).is_err());
    }
}
