//! One directory, built aside and renamed into place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::leftovers::remove_abandoned;
use super::{parent_of, sibling, sync_dir, temporary, unfinished};
use crate::error::{FormatError, Result};

/// A directory under a temporary name that takes its place in [`commit`](Self::commit).
///
/// What a crash leaves, by moment:
///
/// | crash | at the target | beside it |
/// |---|---|---|
/// | before `commit` | old, or nothing | `.<name>.tmp-…`, unfinished: may be deleted |
/// | between its two renames | **nothing** | `.<name>.old`, complete; `.<name>.tmp-…`, complete |
/// | after both | new | `.<name>.old`, perhaps half removed: may be deleted |
///
/// Portable file systems cannot exchange two directories in one step, hence the second row. Call
/// [`recover`](Self::recover) before reading a target: it puts `.<name>.old` back if the target is
/// missing. `create` does so too. Where no old directory existed, `commit` is one rename and the
/// second row cannot happen. Two processes must not replace one target at the same time.
#[derive(Debug)]
pub struct AtomicDir {
    target: PathBuf,
    temporary: PathBuf,
    committed: bool,
}

impl AtomicDir {
    /// Starts an empty directory that will be at `target`, making missing parents.
    ///
    /// # Errors
    /// [`FormatError::Io`], or [`FormatError::WrongKind`] if the target exists as a file.
    pub fn create(target: &Path) -> Result<Self> {
        if target.exists() && !target.is_dir() {
            return Err(FormatError::WrongKind {
                path: target.to_owned(),
                expected: "a folder, or nothing yet",
                found: "it is a file".into(),
                fix: "choose another output folder".into(),
            });
        }
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(FormatError::io("create", parent))?;
        Self::recover(target)?;
        remove_abandoned(target);
        let temporary = temporary(target)?;
        fs::create_dir(&temporary)
            .map_err(FormatError::io("create a temporary folder for", target))?;
        unfinished().insert(temporary.clone());
        Ok(Self {
            target: target.to_owned(),
            temporary,
            committed: false,
        })
    }

    /// Where to put the files until [`commit`](Self::commit).
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Syncs everything inside, moves an old directory aside, renames the new one into place, and
    /// removes the old one.
    ///
    /// # Errors
    /// [`FormatError::Io`]; the old directory is then in place, unless only its removal failed.
    pub fn commit(mut self) -> Result<()> {
        sync_tree(&self.temporary)?;
        // From here on it is whole, and the old one may be out of the way for a moment.
        unfinished().remove(&self.temporary);
        let old = sibling(&self.target, "old")?;
        let parent = parent_of(&self.target);
        let replaces = self.target.exists();
        if replaces {
            // Left from a crash after an earlier commit; the target supersedes it.
            remove_if_there(&old)?;
            fs::rename(&self.target, &old).map_err(FormatError::io("move aside", &self.target))?;
        }
        if let Err(source) = fs::rename(&self.temporary, &self.target) {
            if replaces {
                let _ = fs::rename(&old, &self.target); // the first error is the one to tell
            }
            return Err(FormatError::io("move into place", &self.target)(source));
        }
        self.committed = true;
        sync_dir(parent)?;
        if replaces {
            remove_if_there(&old)?;
        }
        Ok(())
    }

    /// Undoes a commit that a crash cut between its two renames; true if it had to.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn recover(target: &Path) -> Result<bool> {
        let old = sibling(target, "old")?;
        if target.exists() || !old.is_dir() {
            return Ok(false);
        }
        fs::rename(&old, target).map_err(FormatError::io("restore", target))?;
        sync_dir(parent_of(target))?;
        Ok(true)
    }

    /// Brings what a crash left at any moment of a commit to one of its ends: the target is the old
    /// directory or the new one, and no other is moved aside.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn settle(target: &Path) -> Result<()> {
        if Self::recover(target)? || !target.exists() {
            return Ok(());
        }
        remove_if_there(&sibling(target, "old")?)
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.temporary);
            unfinished().remove(&self.temporary);
        }
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FormatError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

/// Syncs files before the directories that name them.
fn sync_tree(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(FormatError::io("list", path))? {
        let entry = entry.map_err(FormatError::io("list", path))?;
        let kind = entry
            .file_type()
            .map_err(FormatError::io("inspect", &entry.path()))?;
        let inner = entry.path();
        if kind.is_dir() {
            sync_tree(&inner)?;
        } else if kind.is_file() {
            let file = File::open(&inner).map_err(FormatError::io("open", &inner))?;
            // Elsewhere syncing needs a handle open for writing, and the caller's own writes had one.
            if cfg!(unix) {
                file.sync_all().map_err(FormatError::io("sync", &inner))?;
            }
        }
    }
    sync_dir(path)
}
