//! One file, replaced by renaming.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{parent_of, sync_dir, temporary, unfinished};
use crate::error::{FormatError, Result};

/// A file under a temporary name that takes its place in [`commit`](Self::commit).
///
/// Dropped uncommitted, it removes itself and the target stays as it was. A symbolic link at the
/// target is replaced, not followed.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file that will be at `target`; its directory must exist.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the directory is missing or read-only.
    pub fn create(target: &Path) -> Result<Self> {
        let temporary = temporary(target)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(FormatError::io("create a temporary file for", target))?;
        unfinished().insert(temporary.clone());
        let file = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self {
            target: target.to_owned(),
            temporary,
            file,
        })
    }

    /// The path that the file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Flushes and syncs the content, renames the file into place, and syncs the directory.
    ///
    /// # Errors
    /// [`FormatError::Io`]; the target is then untouched, unless only the last sync failed.
    pub fn commit(mut self) -> Result<()> {
        if let Some(writer) = self.file.take() {
            let finished = writer
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&self.temporary, &self.target));
            unfinished().remove(&self.temporary);
            if let Err(source) = finished {
                let _ = fs::remove_file(&self.temporary); // the first error is the one to tell
                return Err(FormatError::io("write", &self.target)(source));
            }
            sync_dir(parent_of(&self.target))?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
            drop(writer.into_parts()); // closes without writing the rest of the buffer
            let _ = fs::remove_file(&self.temporary);
            unfinished().remove(&self.temporary);
        }
    }
}

/// Writes a file through `fill`; after a crash or an error the old content is still there.
///
/// # Errors
/// [`FormatError::Io`] from the system or from `fill`.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    fill(&mut file).map_err(FormatError::io("write", path))?;
    file.commit()
}

/// Writes `bytes` as a whole file; see [`write_atomic`].
///
/// # Errors
/// [`FormatError::Io`].
pub fn write_atomic_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |w| w.write_all(bytes))
}
