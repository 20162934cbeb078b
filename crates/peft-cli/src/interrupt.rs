//! Ctrl-C asks a run to save and stop, and a second one ends it at once; other verbs leave nothing behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use peft_run::core::format::atomic::discard_unfinished;

/// A flag that Ctrl-C or a termination signal sets: the run saves and stops.
pub fn watch() -> Result<Arc<AtomicBool>> {
    flag(|| tell!("saving after this step; press Ctrl-C again to stop at once"))
}

/// A flag that Ctrl-C sets: what was generated so far is written.
pub fn stop_generating() -> Result<Arc<AtomicBool>> {
    flag(|| ())
}

/// For verbs that have nothing to go on from: Ctrl-C removes what is half written, and ends the program.
pub fn discard() -> Result<()> {
    ctrlc::set_handler(|| end()).context("watching for Ctrl-C")
}

/// Removes what is half written, and ends the program.
fn end() -> ! {
    discard_unfinished();
    tell!("peft: interrupted");
    std::process::exit(2)
}

/// A flag that the first signal sets, after which `told` runs; a second one ends the program.
fn flag(told: impl Fn() + Send + 'static) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            end();
        }
        told();
    })
    .context("watching for Ctrl-C")?;
    Ok(stop)
}

/// Ctrl-C while an answer is on its way stops the answer; a second one, or one where nothing is on its way, ends
/// the program.
pub struct Answering {
    /// Set when the answer is to stop.
    pub stop: Arc<AtomicBool>,
    on_its_way: Arc<AtomicBool>,
}

impl Answering {
    pub fn watch() -> Result<Self> {
        let all = Self {
            stop: Arc::default(),
            on_its_way: Arc::default(),
        };
        let (stop, on_its_way) = (all.stop.clone(), all.on_its_way.clone());
        ctrlc::set_handler(move || {
            if !on_its_way.load(Ordering::SeqCst) || stop.swap(true, Ordering::SeqCst) {
                end();
            }
        })
        .context("watching for Ctrl-C")?;
        Ok(all)
    }

    pub fn begin(&self) {
        self.stop.store(false, Ordering::SeqCst);
        self.on_its_way.store(true, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.on_its_way.store(false, Ordering::SeqCst);
    }
}
