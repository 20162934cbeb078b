//! `cargo xtask pretrain`: a small Mamba and a small Mamba-2, trained here from random weights, for studies and tests of
//! state-space models: no package has one.

mod card;
pub mod corpus;
mod start;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::Machine;
use crate::study::RowLosses;
use crate::{fetch, files, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Which model
    #[arg(value_enum)]
    family: Family,
    /// Optimiser steps of 1,024 tokens
    #[arg(long, default_value_t = STEPS)]
    steps: u32,
    /// Threads to train with; the result is the same
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// The `peft` binary, instead of building it
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Stop before training: make the text and the folder that it starts from
    #[arg(long)]
    prepare_only: bool,
    /// Other work shares the machine: the card says that its times are no measurement
    #[arg(long)]
    contended: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Mamba,
    Mamba2,
}

impl Family {
    /// Name of the model's folders.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mamba => "mamba",
            Self::Mamba2 => "mamba2",
        }
    }

    /// Name of the architecture.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Mamba => "Mamba",
            Self::Mamba2 => "Mamba-2",
        }
    }

    /// The folder in the repository.
    pub fn folder(self) -> PathBuf {
        workspace::root().join("tests/pretrained").join(self.name())
    }
}

const STEPS: u32 = 6000;
/// Rows of [`LENGTH`] tokens a step.
const ROWS: u32 = 4;
const LENGTH: u32 = 256;
const RATE: &str = "2e-3";

/// What the task keeps of how a training began.
#[derive(Deserialize, Serialize)]
struct Begun {
    steps: u32,
    version: String,
    machine: Machine,
}

/// What came of it.
struct Trained {
    begun: Begun,
    contended: bool,
    /// Loss of every step.
    losses: Vec<f64>,
    /// Steps and losses of the selection text.
    selection: Vec<(u64, f64)>,
    /// Loss of the held-out text at [`LENGTH`] tokens, in f32.
    held_out: f64,
    seconds: f64,
    /// Of the folder as it is committed.
    rounded: RowLosses,
    bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = workspace::cache()?;
    let text = corpus::CORPUS.ensure(&cache, || corpus::make(&fetch::sources(&cache)))?;
    let family = arguments.family;
    let work = cache.join("pretrain").join(family.name());
    let base = work.join("start");
    let tokenizer = workspace::root().join("tests/pretrained/tokenizer.json");
    start::write(family, &base, &tokenizer)?;
    if arguments.prepare_only {
        println!("{}\n{}", text.display(), base.display());
        return Ok(());
    }
    let peft = match &arguments.peft {
        Some(path) => path.clone(),
        None => workspace::build("peft", true)?,
    };
    train(arguments, &peft, &text, &work)?;
    let merged = work.join("merged");
    let mut merge = Command::new(&peft);
    merge.arg("merge").arg("--model").arg(&base);
    merge.arg("--adapter").arg(work.join("run"));
    merge.arg("--output").arg(&merged);
    // Every value is trained, and rounding them is the aim here.
    merge.args(["--dtype", "bf16", "--overwrite", "--allow-loss"]);
    said(merge)?;
    let held_out = text.join("held_out.txt");
    let mut eval = Command::new(&peft);
    eval.args(["eval", "--task", "causal-lm", "--each-row"]);
    eval.args(["--data-format", "text", "--batch-size", "4", "--threads"]);
    eval.arg(arguments.threads.to_string());
    eval.arg("--model")
        .arg(&merged)
        .arg("--data")
        .arg(&held_out);
    let rounded = RowLosses::parse(&said(eval)?)?;
    let trained = read(arguments, &work, &held_out, rounded)?;
    let folder = family.folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        let from = merged.join(name);
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        files::write_atomic(&folder.join(name), &bytes)?;
    }
    let card = card::write(family, &trained);
    files::write_atomic(&folder.join("README.md"), card.as_bytes())?;
    println!("{}", folder.display());
    Ok(())
}

/// Trains, goes on with what was cut off, or leaves what is finished.
fn train(arguments: &Arguments, peft: &Path, text: &Path, work: &Path) -> Result<()> {
    let out = work.join("run");
    let note = work.join("begun.json");
    let mut command = Command::new(peft);
    command.arg("train");
    if out.join("run.toml").is_file() {
        let begun: Begun = serde_json::from_str(&files::read(&note)?)
            .with_context(|| format!("{} is broken", note.display()))?;
        ensure!(
            begun.steps == arguments.steps,
            "{} was begun with {} steps: give --steps {1}, or remove the folder to begin anew",
            out.display(),
            begun.steps
        );
        if is_finished(&out)? {
            return Ok(());
        }
        command.arg("--resume").arg("--output").arg(&out);
    } else {
        let begun = Begun {
            steps: arguments.steps,
            version: crate::study::version(peft)?,
            machine: Machine::look(),
        };
        let json = serde_json::to_string_pretty(&begun)? + "\n";
        files::write_atomic(&note, json.as_bytes())?;
        command.args(["--task", "causal-lm", "--method", "head"]);
        command.args(["--modules-to-save", "backbone", "--data-format", "text"]);
        command.arg("--model").arg(work.join("start"));
        for (flag, name) in [
            ("--data", "fit.txt"),
            ("--select-data", "select.txt"),
            ("--eval-data", "held_out.txt"),
        ] {
            command.arg(flag).arg(text.join(name));
        }
        command.arg("--output").arg(&out);
        command.args(["--learning-rate", RATE, "--head-learning-rate", RATE]);
        command.args(["--schedule", "cosine", "--warmup", "100", "--clip", "1"]);
        command.args(["--weight-decay", "0", "--seed", "0", "--worst-rows", "0"]);
        command.args(["--eval-steps", "1600", "--save-steps", "100"]);
        for (flag, number) in [
            ("--steps", arguments.steps),
            ("--batch-size", ROWS),
            ("--max-length", LENGTH),
            ("--threads", arguments.threads),
        ] {
            command.args([flag, &number.to_string()]);
        }
    }
    let status = command.status().context("cannot start peft")?;
    ensure!(
        status.success(),
        "training ended with {status}; the same command goes on from the last checkpoint"
    );
    Ok(())
}

fn events(run: &Path) -> Result<Vec<Value>> {
    let path = run.join("metrics.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let event = |line: &str| serde_json::from_str(line);
    let events: Result<_, _> = files::read(&path)?.lines().map(event).collect();
    events.with_context(|| format!("a line of {} is not JSON", path.display()))
}

fn is_finished(run: &Path) -> Result<bool> {
    let end = |event: &Value| event["event"] == "final";
    Ok(events(run)?.iter().any(end))
}

/// Runs a command to its end and returns what it printed.
fn said(mut command: Command) -> Result<String> {
    let output = command.output().context("cannot start peft")?;
    ensure!(
        output.status.success(),
        "peft ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(
    arguments: &Arguments,
    work: &Path,
    held_out: &Path,
    rounded: RowLosses,
) -> Result<Trained> {
    let run = work.join("run");
    let (mut losses, mut selection, mut report, mut seconds) = (Vec::new(), Vec::new(), None, None);
    for event in events(&run)? {
        let loss = event["loss"].as_f64();
        match (event["event"].as_str(), event["split"].as_str()) {
            (Some("step"), _) => losses.extend(loss),
            (Some("eval"), Some("selection")) => {
                selection.extend(event["step"].as_u64().zip(loss));
            }
            (Some("eval"), Some("report")) => report = loss,
            (Some("final"), _) => seconds = event["train_time_s"].as_f64(),
            _ => {}
        }
    }
    let size = fs::metadata(held_out).with_context(|| format!("no {}", held_out.display()))?;
    ensure!(
        losses.len() == arguments.steps as usize,
        "{}: {} steps are logged of {}",
        run.display(),
        losses.len(),
        arguments.steps
    );
    Ok(Trained {
        begun: serde_json::from_str(&files::read(&work.join("begun.json"))?)?,
        contended: arguments.contended,
        losses,
        selection,
        held_out: report.context("the log has no loss of the held-out text")?,
        seconds: seconds.context("the log does not say how long training took")?,
        rounded,
        bytes: size.len(),
    })
}
