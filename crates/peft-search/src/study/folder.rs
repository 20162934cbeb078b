//! A study in a folder: of one machine, or of a disk that several share and that has locks.

mod beat;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::beat::Beat;
use super::journal::{Entry, Journal};
use super::store::{Change, Presence, Store};
use crate::SearchError;

/// The journal's name in the folder.
pub const JOURNAL: &str = "journal.jsonl";
const LOCK: &str = "lock";
const WORKERS: &str = "workers";

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
}

/// Whether a name is one that [`FolderStore::join`] gives: no path, and not long.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

/// A name that no other worker has: machine, process and count.
fn own_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine: String = machine
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect();
    let machine = if machine.is_empty() {
        "machine"
    } else {
        &machine
    };
    // A process number may come again, on this machine after a while and on another at any time.
    let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
    let stamp = (since as u64) ^ ((since >> 64) as u64);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{machine}-{}-{stamp:x}-{count}", std::process::id())
}

impl Store for FolderStore {
    fn alone(&mut self, change: &mut Change<'_>) -> Result<(), SearchError> {
        let _lock = self.lock()?;
        let entries = self.journal.read()?;
        let added = change(entries, &*self)?;
        self.journal.append(&added)
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
        let name = own_name();
        let path = self.worker(&name);
        let mut file = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(SearchError::file(&path, "make"))?;
        file.lock().map_err(SearchError::file(&path, "lock"))?;
        file.write_all(b"0\n")
            .map_err(SearchError::file(&path, "write"))?;
        self.beat = Some(Beat::start(name.clone(), path, file, self.patience / 4));
        Ok(name)
    }
}

impl Presence for FolderStore {
    fn at_work(&self, worker: &str) -> Result<bool, SearchError> {
        if !is_name(worker) {
            return Err(SearchError::Journal {
                path: self.journal.path().display().to_string(),
                line: 0,
                reason: format!(
                    "{worker:?} is no worker's name: expected letters, digits and dashes"
                ),
            });
        }
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
                .join(format!(".now-{}", own_name()));
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
