//! The reference Python: Hugging Face PEFT and PyTorch at pinned versions, outside the repository.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{files, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Python to make the environment with
    #[arg(long, default_value = "python3")]
    with: String,
}

/// Folder of the Python scripts.
pub fn scripts() -> PathBuf {
    workspace::root().join("xtask/python")
}

fn environment() -> Result<PathBuf> {
    Ok(workspace::cache()?.join("python-reference"))
}

/// The interpreter of the comparisons: as given, else `PEFT_PYTHON`, else the one `cargo xtask python` made.
pub fn interpreter(given: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given
        .cloned()
        .or_else(|| env::var_os("PEFT_PYTHON").map(PathBuf::from))
    {
        ensure!(path.is_file(), "there is no Python at {}", path.display());
        return Ok(path);
    }
    let path = environment()?.join("bin/python");
    ensure!(
        path.is_file(),
        "no reference Python at {}: make it with `cargo xtask python`, or set PEFT_PYTHON to one \
         that has the packages of xtask/python/requirements.txt",
        path.display()
    );
    Ok(path)
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if env::var_os("PEFT_PYTHON").is_some() {
        println!("{} (PEFT_PYTHON)", interpreter(None)?.display());
        return Ok(());
    }
    let folder = environment()?;
    let requirements = scripts().join("requirements.txt");
    let wanted = files::read(&requirements)?;
    // Written last, so that its presence says that the installation went through.
    let stamp = folder.join("installed.txt");
    if files::read(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("{}", interpreter(None)?.display());
        return Ok(());
    }
    let step = |command: &mut Command, what: &str| -> Result<()> {
        let status = command
            .status()
            .with_context(|| format!("cannot start {what}"))?;
        ensure!(
            status.success(),
            "{what} failed ({status}): see its messages above"
        );
        Ok(())
    };
    step(
        Command::new(&arguments.with)
            .args(["-m", "venv"])
            .arg(&folder),
        "`python3 -m venv` (Debian: apt-get install python3-venv)",
    )?;
    let python = folder.join("bin/python");
    step(
        Command::new(&python)
            .args(["-m", "pip", "install", "--requirement"])
            .arg(&requirements),
        "pip install",
    )?;
    files::write_atomic(&stamp, wanted.as_bytes())?;
    println!("{}", python.display());
    Ok(())
}
