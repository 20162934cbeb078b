use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use peft_run::{RunFolder, report as write};

/// `peft report`: the paths of the pages on standard output.
pub fn report(folders: &[PathBuf]) -> Result<ExitCode> {
    for folder in RunFolder::find(folders)? {
        super::say(&write(&folder)?.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
