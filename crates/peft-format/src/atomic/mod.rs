//! Files and directories that appear whole or not at all.
//!
//! All of it rests on two promises of the file system: renaming within a directory is atomic, and
//! a synced file survives a crash. Temporary names start with a dot and lie beside the target, for
//! renaming works within one file system only.

mod dir;
mod file;
mod leftovers;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use dir::AtomicDir;
pub use file::{AtomicFile, write_atomic, write_atomic_bytes};
pub use leftovers::remove_leftovers;

use crate::error::{FormatError, Result};

/// Temporary files and folders of this process that are not in place yet.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remove every file and folder that this process has begun and not put in place: for a program that is told to end
/// at once, whose values are never dropped.
pub fn discard_unfinished() {
    for path in std::mem::take(&mut *unfinished()) {
        let _ = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}

/// The parent of a target, `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// `.<name>.<tag>` beside the target.
fn sibling(path: &Path, tag: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(FormatError::WrongKind {
            path: path.to_owned(),
            expected: "a path that ends in a name",
            found: "it ends in `..` or is a root".into(),
            fix: "give the file or folder a name".into(),
        });
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(tag);
    Ok(parent_of(path).join(hidden))
}

/// A name beside a target for what will be renamed to it, which [`remove_leftovers`] knows.
pub(crate) fn temporary(path: &Path) -> Result<PathBuf> {
    sibling(path, &unique_tag())
}

/// A tag that no other thread or living process uses.
fn unique_tag() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let stamp = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |d| d.subsec_nanos());
    format!(
        "tmp-{}-{stamp:08x}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Makes the names in a directory durable; without this a rename can be lost in a power failure.
fn sync_dir(path: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(()); // directories cannot be opened for syncing elsewhere
    }
    match File::open(path).and_then(|dir| dir.sync_all()) {
        // Some network file systems do not know the call; the rename itself has succeeded.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other.map_err(FormatError::io("sync", path)),
    }
}

#[cfg(test)]
mod tests;
