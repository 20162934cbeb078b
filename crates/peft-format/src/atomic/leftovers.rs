//! What crashes leave beside the files of a folder.

use std::fs;
use std::path::Path;

use crate::error::{FormatError, Result};

/// Removes from a folder the temporary files and folders that killed writers of this module left in
/// it; returns how many there were. Of a missing folder there are none.
///
/// Nobody else may be writing into the folder: what they have begun would be removed too. A folder
/// moved aside by [`AtomicDir`](super::AtomicDir) stays, for it may be the only copy; the next
/// replacement of its target sees to it.
///
/// # Errors
/// [`FormatError::Io`].
pub fn remove_leftovers(folder: &Path) -> Result<usize> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(FormatError::io("list", folder))?,
    };
    let mut found = 0;
    for entry in entries {
        let entry = entry.map_err(FormatError::io("list", folder))?;
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let path = entry.path();
        let kind = entry
            .file_type()
            .map_err(FormatError::io("inspect", &path))?;
        let removed = match kind.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(FormatError::io("remove", &path))?;
        found += 1;
    }
    Ok(found)
}

/// Whether a name is one that this module makes up: `.<name>.tmp-<process>-<stamp>-<number>`.
fn is_temporary(name: &str) -> bool {
    let parts = name.rsplit_once(".tmp-").map(|(start, tag)| {
        let parts: Vec<&str> = tag.split('-').collect();
        (start, parts)
    });
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match parts {
        Some((start, parts)) => match parts.as_slice() {
            [process, stamp, count] => {
                start.len() > 1
                    && start.starts_with('.')
                    && number(process)
                    && stamp.len() == 8
                    && stamp.bytes().all(|b| b.is_ascii_hexdigit())
                    && number(count)
            }
            _ => false,
        },
        None => false,
    }
}
