//! What crashes leave beside the files of a folder.

use std::fs;
use std::path::Path;

use super::{parent_of, sibling, unfinished};
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

/// Removes what killed writers of one target left beside it, where their process is gone: other temporary names stay, for
/// somebody may be writing them. What cannot be looked at or removed stays, too.
pub(super) fn remove_abandoned(target: &Path) {
    let Some(start) = sibling(target, "tmp-").ok().and_then(|path| {
        let name = path.file_name()?.to_str()?;
        Some(name.to_owned())
    }) else {
        return;
    };
    for entry in fs::read_dir(parent_of(target))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| is_temporary(name));
        let Some(tag) = name.and_then(|name| name.strip_prefix(&start)) else {
            continue;
        };
        let process = tag.split('-').next().unwrap_or_default();
        if is_gone(process, &entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the process that made a temporary folder no longer runs, where that can be told: a number of this process may be
/// another's of before, as in containers.
fn is_gone(process: &str, path: &Path) -> bool {
    match process == std::process::id().to_string() {
        true => !unfinished().contains(path),
        false => Path::new("/proc/self").exists() && !Path::new("/proc").join(process).exists(),
    }
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
