//! A worker's sign of life.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that writes to a locked file now and then, until it is dropped; the file is then removed.
#[derive(Debug)]
pub struct Beat {
    name: String,
    path: PathBuf,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    /// Begins; the file is locked already and the lock goes with it.
    pub fn start(name: String, path: PathBuf, mut file: File, every: Duration) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut count = 0u64;
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                count += 1;
                // A write that fails is a beat missed: enough of them, and the worker counts as lost.
                let _ = file
                    .rewind()
                    .and_then(|()| writeln!(file, "{count}"))
                    .and_then(|()| file.flush());
            }
        });
        Self {
            name,
            path,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
