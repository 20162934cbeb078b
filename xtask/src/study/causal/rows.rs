//! The rows of a study, as prompts with completions: the word problems that `peft quickstart --causal` carries, or pieces of
//! source files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::material::Data;
use crate::fetch::file_types::{FILE_TYPES, KINDS};
use crate::{
    fetch::{self, problems},
    files,
};

/// Rows of fit.jsonl that are fitted; those that follow select.
const FIT: usize = 400;

/// The files of a study, in its work folder.
pub struct Files {
    pub fit: PathBuf,
    pub select: PathBuf,
    /// Rows to report on, each with every answer where there are several to choose from.
    pub report: PathBuf,
    pub answers: Option<Answers>,
    /// sha256 over all of them.
    pub sha256: String,
}

/// Answers to choose from.
pub struct Answers {
    /// How many every row has.
    pub count: usize,
    /// The right one of every row.
    pub right: Vec<usize>,
}

/// Writes the files.
pub fn write(data: Data, work: &Path, cache: &Path) -> Result<Files> {
    match data {
        Data::WordProblems => word_problems(work),
        Data::FileTypes => {
            let make = || fetch::file_types::files(&fetch::sources(cache));
            file_types(&FILE_TYPES.ensure(cache, make)?)
        }
    }
}

fn word_problems(work: &Path) -> Result<Files> {
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
        answers: None,
        sha256: peft_hub::sha256(all.as_bytes()),
    })
}

fn file_types(folder: &Path) -> Result<Files> {
    let mut all = String::new();
    for (name, _) in FILE_TYPES.files {
        all += &files::read(&folder.join(name))?;
    }
    Ok(Files {
        fit: folder.join("fit.jsonl"),
        select: folder.join("select.jsonl"),
        report: folder.join("candidates.jsonl"),
        answers: Some(Answers {
            count: KINDS.len(),
            right: right(&files::read(&folder.join("report.jsonl"))?)?,
        }),
        sha256: peft_hub::sha256(all.as_bytes()),
    })
}

/// The places of the rows' completions among the answers.
fn right(text: &str) -> Result<Vec<usize>> {
    let place = |line: &str| -> Result<usize> {
        let row: Value = serde_json::from_str(line)?;
        let said = row["completion"].as_str();
        let kinds = KINDS.iter();
        let place = said.and_then(|said| kinds.clone().position(|(_, answer)| *answer == said));
        place.with_context(|| format!("{said:?} is no answer"))
    };
    text.lines().map(place).collect()
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
