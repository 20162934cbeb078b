//! The rows of a study: the word problems that `peft quickstart --causal` carries, as prompts with completions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{fetch::problems, files};

/// Rows of fit.jsonl that are fitted; those that follow select.
const FIT: usize = 400;

/// The files of a study, in its work folder.
pub struct Files {
    pub fit: PathBuf,
    pub select: PathBuf,
    pub report: PathBuf,
    /// sha256 over all of them.
    pub sha256: String,
}

/// Writes the three files.
pub fn write(work: &Path) -> Result<Files> {
    let read = |name: &str| files::read(&problems::folder().join(name));
    let [fit, report] = [read("fit.jsonl")?, read("held-out.jsonl")?];
    let rows = prompts(&fit)?;
    ensure!(
        rows.len() > FIT,
        "fit.jsonl has {} rows, and {FIT} and more are wanted",
        rows.len()
    );
    let parts = [
        ("fit.jsonl", rows[..FIT].concat()),
        ("select.jsonl", rows[FIT..].concat()),
        ("report.jsonl", prompts(&report)?.concat()),
    ];
    let folder = work.join("data");
    for (name, text) in &parts {
        files::write_atomic(&folder.join(name), text.as_bytes())?;
    }
    let all: String = parts.iter().map(|(_, text)| text.as_str()).collect();
    let [fit, select, report] = parts.map(|(name, _)| folder.join(name));
    Ok(Files {
        fit,
        select,
        report,
        sha256: peft_hub::sha256(all.as_bytes()),
    })
}

/// Conversations as lines of a prompt and its completion.
fn prompts(text: &str) -> Result<Vec<String>> {
    let line = |line: &str| -> Result<String> {
        let row: Value = serde_json::from_str(line)?;
        let said = |turn: usize| row["messages"][turn]["content"].as_str().context("no turn");
        let row = json!({ "prompt": format!("{}\n", said(0)?), "completion": said(1)? });
        Ok(format!("{row}\n"))
    };
    text.lines().map(line).collect()
}
