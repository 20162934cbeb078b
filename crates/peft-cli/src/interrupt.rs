//! Ctrl-C asks the run to save and stop; a second one ends it at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};

/// A flag that Ctrl-C or a termination signal sets.
pub fn watch() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(2);
        }
        eprintln!("saving after this step; press Ctrl-C again to stop at once");
    })
    .context("watching for Ctrl-C")?;
    Ok(stop)
}
