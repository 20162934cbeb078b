//! Golden files from the reference implementations.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{python, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// What to mint: NAME of xtask/python/mint_NAME.py
    #[arg(default_value = "goldens")]
    name: String,
    /// Python to run instead of the reference environment's
    #[arg(long)]
    python: Option<PathBuf>,
    /// Arguments for the script, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Names of the scripts that mint, sorted.
fn names() -> Result<Vec<String>> {
    let folder = python::scripts();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(file.strip_prefix("mint_")?.strip_suffix(".py")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let names = names()?;
    ensure!(
        names.contains(&arguments.name),
        "nothing is minted under the name {:?}; there are {}",
        arguments.name,
        names.join(", ")
    );
    let script = python::scripts().join(format!("mint_{}.py", arguments.name));
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
