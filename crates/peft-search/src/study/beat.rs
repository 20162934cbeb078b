//! A worker's sign of life.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a store's workers show that they are there.
pub trait Sign: Send + 'static {
    /// Shows it once more. One that cannot be given is missed: enough of them, and the worker counts as lost.
    fn give(&mut self);

    /// Shows that it has gone.
    fn end(&mut self);
}

/// A thread that gives a sign at once and then now and then, until it is dropped.
#[derive(Debug)]
pub struct Beat {
    name: String,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    /// Begins, for the worker of this name.
    pub fn start(name: String, mut sign: impl Sign, every: Duration) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            sign.give();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                sign.give();
            }
            sign.end();
        });
        Self {
            name,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The worker's name.
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
    }
}
