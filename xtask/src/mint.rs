//! Golden files from the reference implementations.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{python, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Python to run instead of the reference environment's
    #[arg(long)]
    python: Option<PathBuf>,
    /// Arguments for mint_goldens.py, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let script = python::scripts().join("mint_goldens.py");
    let status = Command::new(python::interpreter(arguments.python.as_ref())?)
        .arg(&script)
        .args(&arguments.rest)
        .current_dir(workspace::root())
        .status()
        .context("cannot start Python")?;
    ensure!(
        status.success(),
        "{} failed ({status}): see its messages above",
        script.display()
    );
    Ok(())
}
