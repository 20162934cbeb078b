//! Benchmarks that are programs of their own: what they print, and where the report goes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};

use crate::{files, workspace};

/// The JSON object that a benchmark prints; it is built unless `binary` is given.
pub fn figures<T: DeserializeOwned>(
    bench: &str,
    binary: Option<&Path>,
    threads: u32,
    arguments: &[Option<&str>],
) -> Result<T> {
    let mut command = match binary {
        Some(path) => Command::new(path),
        None => {
            let mut cargo = workspace::cargo();
            cargo.args(["bench", "--workspace", "--bench", bench, "--"]);
            cargo
        }
    };
    command.args(arguments.iter().flatten());
    command.env("RAYON_NUM_THREADS", threads.to_string());
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "the benchmark ended with {}: see its messages above",
        output.status
    );
    serde_json::from_slice(&output.stdout)
        .context("the benchmark's output is not the JSON object that it should print")
}

/// Where a report goes: the folder asked for, or the documents; of a quick run, the build folder.
pub fn folder(asked: Option<&Path>, quick: bool) -> PathBuf {
    match (asked, quick) {
        (Some(path), _) => path.to_owned(),
        (None, true) => workspace::target().join("benchmarks"),
        (None, false) => workspace::root().join("docs/benchmarks"),
    }
}

/// Write `<name>.json` and `<name>.md`, and tell where the latter is.
pub fn write<T: Serialize>(
    folder: &Path,
    name: &str,
    report: &T,
    markdown: &str,
) -> Result<PathBuf> {
    let mut json = serde_json::to_string_pretty(report).context("cannot write the report")?;
    json.push('\n');
    files::write_atomic(&folder.join(format!("{name}.json")), json.as_bytes())?;
    let path = folder.join(format!("{name}.md"));
    files::write_atomic(&path, markdown.as_bytes())?;
    Ok(path)
}
