//! A few training steps on the real model and data, by the binary a user runs.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::steps;
use super::tally::Tally;
use crate::{fetch, files, workspace};

const STEPS: usize = 20;

pub fn run(tally: &mut Tally) -> Result<()> {
    let data = fetch::everything()?;
    fetch::tweets::check()?;
    let mut goldens = workspace::cargo();
    goldens.args([
        "test",
        "--workspace",
        "--test",
        "suite",
        "--",
        "--ignored",
        "minilm",
    ]);
    goldens.env("PEFT_TEST_MINILM", data.join("minilm"));
    steps::run(goldens, None, tally)?;

    let peft = workspace::build("peft", false)?;
    let output = workspace::target().join("real-model");
    if output.exists() {
        fs::remove_dir_all(&output)
            .with_context(|| format!("cannot clear {}", output.display()))?;
    }
    let reviews = data.join("rotten_tomatoes");
    let mut train = Command::new(&peft);
    train.args([
        "train",
        "--task",
        "classify",
        "--method",
        "lora",
        "--max-length",
        "64",
    ]);
    train
        .args(["--steps", &STEPS.to_string(), "--model"])
        .arg(data.join("minilm"));
    train.arg("--data").arg(reviews.join("fit_small.csv"));
    train
        .arg("--select-data")
        .arg(reviews.join("select_small.csv"));
    train.arg("--output").arg(&output);
    steps::run(train, None, tally)?;

    let losses = losses(&files::read(&output.join("metrics.jsonl"))?)?;
    ensure!(
        losses.len() == STEPS,
        "metrics.jsonl has {} steps, not {STEPS}",
        losses.len()
    );
    ensure!(
        losses.iter().all(|loss| loss.is_finite()),
        "a loss is not finite: {losses:?}"
    );
    let mut eval = Command::new(&peft);
    eval.args(["eval", "--task", "classify", "--model"])
        .arg(data.join("minilm"));
    eval.arg("--adapter")
        .arg(&output)
        .arg("--data")
        .arg(reviews.join("select_small.csv"));
    steps::run(eval, None, tally)
}

fn losses(metrics: &str) -> Result<Vec<f64>> {
    let mut losses = Vec::new();
    for line in metrics.lines() {
        let event: Value = serde_json::from_str(line).context("metrics.jsonl holds no JSON")?;
        if event["event"] == "step" {
            losses.push(event["loss"].as_f64().context("a step has no loss")?);
        }
    }
    Ok(losses)
}
