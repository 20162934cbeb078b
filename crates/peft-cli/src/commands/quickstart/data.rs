//! The data of a quickstart, which the binary carries, as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft_run::core::format::atomic::write_atomic_bytes;

/// Rows to learn from, and rows held out.
pub struct Files {
    pub fit: PathBuf,
    pub held_out: PathBuf,
}

/// Writes rows, by their file names, and their notice into `data` under `output`.
pub fn write(output: &Path, notice: &str, fit: [&str; 2], held_out: [&str; 2]) -> Result<Files> {
    let folder = output.join("data");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let write = |[name, text]: [&str; 2]| -> Result<PathBuf> {
        let path = folder.join(name);
        write_atomic_bytes(&path, text.as_bytes())?;
        Ok(path)
    };
    write(["NOTICE", notice])?;
    Ok(Files {
        fit: write(fit)?,
        held_out: write(held_out)?,
    })
}
