//! A study in a folder: of one machine, or of a disk that several share and that has locks.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::beat::{Beat, Sign};
use super::description::{DESCRIPTION, Description};
use super::journal::{Entry, Journal};
use super::names;
use super::store::{Change, Describe, Made, Presence, Store};
use crate::SearchError;

/// The journal's name in the folder.
pub const JOURNAL: &str = "journal.jsonl";
const LOCK: &str = "lock";
const WORKERS: &str = "workers";
/// What is made of trials beside the journal.
const REMAINS: [&str; 2] = ["trials", "front.json"];
/// What the name of a file begins with that is there to be dated.
const PROBE: &str = ".now-";
/// After how long the file of a worker that is not heard of is removed.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder with `journal.jsonl`, a `lock` that one holds at a time, and a file for each worker in `workers/`.
///
/// A worker holds a lock on its own file for as long as its process lives, and touches the file now and then. It is
/// taken for lost when the lock is free (it ended or was killed; noticed at once), or when the file was not touched
/// for [`patience`](Self::with_patience) (its machine is gone, or it hangs). Times are compared as the file system
/// gives them, so that clocks of machines need not agree.
#[derive(Debug)]
pub struct FolderStore {
    folder: PathBuf,
    journal: Journal,
    patience: Duration,
    beat: Option<Beat>,
}

impl FolderStore {
    /// A store in a folder, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// [`SearchError::File`] where the folder cannot be made.
    pub fn new(folder: &Path) -> Result<Self, SearchError> {
        let workers = folder.join(WORKERS);
        std::fs::create_dir_all(&workers).map_err(SearchError::file(&workers, "make"))?;
        Ok(Self {
            folder: folder.to_owned(),
            journal: Journal::new(folder.join(JOURNAL)),
            patience: Duration::from_secs(60),
            beat: None,
        })
    }

    /// After how long a worker that does not answer is taken for lost; a minute unless said.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn lock(&self) -> Result<File, SearchError> {
        let path = self.folder.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(SearchError::file(&path, "open"))?;
        file.lock().map_err(SearchError::file(&path, "lock"))?;
        Ok(file)
    }

    fn worker(&self, name: &str) -> PathBuf {
        self.folder.join(WORKERS).join(name)
    }

    /// Removes the files that killed workers left and that are a day older than `own`. What cannot be removed stays.
    fn forget(&self, own: &Path) {
        let modified = |path: &Path| path.metadata().and_then(|found| found.modified());
        let (Ok(now), Ok(all)) = (modified(own), own.with_file_name("").read_dir()) else {
            return;
        };
        for path in all.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.map(|name| name.strip_prefix(PROBE).unwrap_or(name));
            let of_worker = name.is_some_and(|name| names::check(name, "").is_ok());
            let old = modified(&path)
                .is_ok_and(|at| now.duration_since(at).is_ok_and(|since| since > DAY));
            // One that hangs holds its lock, and may come back.
            if of_worker
                && old
                && let Ok(file) = File::options().write(true).open(&path)
                && file.try_lock().is_ok()
            {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

/// The locked file of a worker.
struct Locked {
    path: PathBuf,
    file: File,
    count: u64,
}

impl Sign for Locked {
    fn give(&mut self) {
        self.count += 1;
        let _ = self
            .file
            .rewind()
            .and_then(|()| writeln!(self.file, "{}", self.count))
            .and_then(|()| self.file.flush());
    }

    fn end(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Store for FolderStore {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn journal(&self) -> String {
        self.journal.path().display().to_string()
    }

    fn remains(&self) -> Option<String> {
        let is_there = |path: &Path| match path.read_dir() {
            Ok(mut inside) => inside.next().is_some(),
            Err(_) => path.is_file(),
        };
        let found = REMAINS
            .iter()
            .find(|name| is_there(&self.folder.join(name)))?;
        Some(format!("`{found}`"))
    }

    fn description(&mut self) -> Result<Option<Description>, SearchError> {
        if !self.folder.join(DESCRIPTION).exists() {
            return Ok(None);
        }
        Description::read(&self.folder).map(Some)
    }

    fn describe(&mut self, describe: &mut Describe<'_>) -> Result<(), SearchError> {
        let _lock = self.lock()?;
        match describe(self.description()?)? {
            Some(description) => description.write_file(&self.folder.join(DESCRIPTION)),
            None => Ok(()),
        }
    }

    fn alone(&mut self, change: &mut Change<'_>) -> Result<Made, SearchError> {
        let _lock = self.lock()?;
        let entries = self.journal.read()?;
        let added = change(entries, &*self)?;
        self.journal.append(&added)?;
        Ok(Made::Appended)
    }

    fn read(&mut self) -> Result<Vec<Entry>, SearchError> {
        self.journal.read()
    }

    fn rewind(&mut self) {
        self.journal.rewind();
    }

    fn join(&mut self) -> Result<String, SearchError> {
        if let Some(beat) = &self.beat {
            return Ok(beat.name().to_owned());
        }
        let name = names::own();
        let path = self.worker(&name);
        let mut file = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(SearchError::file(&path, "make"))?;
        file.lock().map_err(SearchError::file(&path, "lock"))?;
        file.write_all(b"0\n")
            .map_err(SearchError::file(&path, "write"))?;
        self.forget(&path);
        let count = 0;
        let sign = Locked { path, file, count };
        self.beat = Some(Beat::start(name.clone(), sign, self.patience / 4));
        Ok(name)
    }
}

impl Presence for FolderStore {
    fn at_work(&self, worker: &str) -> Result<bool, SearchError> {
        names::check(worker, &self.journal.path().display().to_string())?;
        let path = self.worker(worker);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(SearchError::file(&path, "open")(error)),
        };
        match file.try_lock() {
            Ok(()) => return Ok(false),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(SearchError::file(&path, "lock")(error)),
        }
        // "Now" by the clock of the file system: that of a file just written there.
        let now = {
            let probe = self
                .folder
                .join(WORKERS)
                .join(format!("{PROBE}{}", names::own()));
            let written =
                std::fs::write(&probe, b"now").and_then(|()| std::fs::metadata(&probe)?.modified());
            let _ = std::fs::remove_file(&probe);
            written.map_err(SearchError::file(&probe, "write"))?
        };
        let touched = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(SearchError::file(&path, "read"))?;
        Ok(now.duration_since(touched).unwrap_or_default() <= self.patience)
    }
}
