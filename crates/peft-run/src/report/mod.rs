//! What a run leaves as one page, and runs as their folders tell them.

mod classes;
mod folder;
mod page;
mod settings;
mod text;
pub(crate) mod worst;

use std::path::{Path, PathBuf};

use peft_format::atomic::write_atomic_bytes;

pub use folder::{RunFolder, RunStatus};
pub use text::{bytes, duration, figure};
pub use worst::WorstRow;

use crate::RunError;

/// Name of the report in an output folder.
pub(crate) const REPORT: &str = "report.html";

/// Write the report of a run into its folder, whatever the run's state, and say where it is.
///
/// # Errors
/// If the folder holds no run, or cannot be written.
pub fn report(folder: &Path) -> Result<PathBuf, RunError> {
    write(&RunFolder::read(folder)?)
}

/// Write the report of a run that was read.
pub(crate) fn write(run: &RunFolder) -> Result<PathBuf, RunError> {
    let path = run.path.join(REPORT);
    write_atomic_bytes(&path, page::page(run).html().as_bytes())?;
    Ok(path)
}
