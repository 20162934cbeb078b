//! `cargo xtask footprint`: the memory of the quickstart's LoRA job, here and in Hugging Face PEFT, or
//! that of a large merge.

mod checkpoint;
mod merge;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use peft_hub::MINILM;
use serde_json::json;

use crate::process::{Usage, run_measured};
use crate::{fetch, files, python, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Binary to measure instead of a release build of this workspace
    #[arg(long, value_name = "FILE")]
    peft: Option<PathBuf>,
    /// Python to run instead of the reference environment's
    #[arg(long)]
    python: Option<PathBuf>,
    /// Steps of each of the two epochs, instead of all: for a smoke test
    #[arg(long)]
    steps: Option<u64>,
    /// Measure `peft merge` on a generated bf16 checkpoint of three billion values instead: it needs
    /// 15 GB in the build folder for a few minutes
    #[arg(long = "merge-3b", conflicts_with_all = ["python", "steps"])]
    merge_3b: bool,
    /// A tiny checkpoint, to see that it runs; the result goes to the build folder
    #[arg(long, requires = "merge_3b")]
    quick: bool,
}

/// Rows of the tweets to fit that select, as the quickstart's tenth does.
const SELECT: usize = 304;

pub fn run(arguments: &Arguments) -> Result<()> {
    let peft = match &arguments.peft {
        Some(path) => path.clone(),
        None => workspace::build("peft", true)?,
    };
    if arguments.merge_3b {
        return merge::run(&peft, arguments.quick);
    }
    let model = MINILM.path(&fetch::everything()?);
    let python = python::interpreter(arguments.python.as_ref())?;
    let work = workspace::target().join("footprint");
    let tweets = workspace::root().join("crates/peft-cli/assets/tweets");
    let all = files::read(&tweets.join("fit.csv"))?;
    let lines: Vec<&str> = all.lines().collect();
    let (fit, select) = lines[1..].split_at(lines.len() - 1 - SELECT);
    for (name, rows) in [("fit.csv", fit), ("select.csv", select)] {
        let text = format!("text,label\n{}\n", rows.join("\n"));
        files::write_atomic(&work.join(name), text.as_bytes())?;
    }
    let report = tweets.join("held-out.csv");
    let [ours, theirs] = ["peft", "hf-peft"].map(|name| work.join(name));
    for folder in [&ours, &theirs] {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot clear {}", folder.display()))?;
        }
    }
    let shared = [
        "--epochs",
        "2",
        "--max-length",
        "64",
        "--batch-size",
        "32",
        "--threads",
        "2",
    ];

    let mut command = Command::new(&peft);
    command.args(["train", "--method", "lora"]).args(shared);
    command.arg("--model").arg(&model);
    command.arg("--data").arg(work.join("fit.csv"));
    command.arg("--select-data").arg(work.join("select.csv"));
    command.arg("--eval-data").arg(&report);
    command.arg("--output").arg(&ours).arg("--overwrite");
    if let Some(steps) = arguments.steps {
        command.args(["--steps", &(2 * steps).to_string()]);
    }
    eprintln!("measuring peft");
    let ours = run_measured(&mut command, &work.join("peft.log"))?;

    let mut command = Command::new(python);
    command
        .arg(python::scripts().join("hf_baseline.py"))
        .args(shared);
    command.arg("--model").arg(&model);
    command.arg("--fit").arg(work.join("fit.csv"));
    command.arg("--select").arg(work.join("select.csv"));
    command.arg("--report").arg(&report);
    command.arg("--out").arg(&theirs);
    if let Some(steps) = arguments.steps {
        command.args(["--max-steps", &steps.to_string()]);
    }
    eprintln!("measuring Hugging Face PEFT");
    let theirs = run_measured(&mut command, &work.join("hf-peft.log"))?;
    write(arguments.steps, &ours, &theirs)
}

fn write(steps: Option<u64>, ours: &Usage, theirs: &Usage) -> Result<()> {
    let of = |usage: &Usage| {
        json!({
            "peak_anonymous_bytes": usage.peak_rss_anon_bytes,
            "peak_resident_bytes": usage.peak_rss_bytes,
        })
    };
    let ratio = |of: fn(&Usage) -> Option<u64>| Some(of(ours)? as f64 / of(theirs)? as f64);
    let result = json!({
        "job": "LoRA of the quickstart: MiniLM, 2,738 tweets to fit, 2 epochs, batches of 32, 64 tokens, 2 threads",
        "steps_of_each_epoch": steps,
        "peft": of(ours),
        "hugging_face_peft": of(theirs),
        "ratio_anonymous": ratio(|usage| usage.peak_rss_anon_bytes),
        "ratio_resident": ratio(|usage| usage.peak_rss_bytes),
    });
    let text = serde_json::to_string_pretty(&result)? + "\n";
    files::write_atomic(
        &workspace::root().join("docs/quickstart/memory.json"),
        text.as_bytes(),
    )?;
    print!("{text}");
    Ok(())
}
