use std::{path::Path, process::ExitCode};

use anyhow::Result;
use peft_run::report as write;

/// `peft report`: the path of the page on standard output.
pub fn report(folder: &Path) -> Result<ExitCode> {
    super::say(&write(folder)?.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
