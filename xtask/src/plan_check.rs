//! `cargo xtask plan-check`: the memory that `peft plan` estimates, held against that of real runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{fetch, files, process, workspace};

mod random;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of the all-MiniLM-L6-v2 model, instead of the cache
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// SmolLM2-135M-Instruct.Q4_1.gguf: measure it, too
    #[arg(long, value_name = "FILE")]
    smollm2: Option<PathBuf>,
    /// Measure the release build; memory is the same in both
    #[arg(long)]
    release: bool,
    /// Only the models whose names contain this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// File to write
    #[arg(long, default_value = "docs/runs/plan-memory.md")]
    output: PathBuf,
}

/// What an estimate of an encoder may be off by.
const ENCODER: f64 = 0.05;
/// What an estimate of the younger kinds may be off by.
const LANGUAGE: f64 = 0.10;

/// Rows of a run: enough for three steps of the largest batch.
const ROWS: usize = 128;
/// The same of SmolLM2, which takes its time.
const FEW_ROWS: usize = 12;

/// Words that are one token each in the vocabulary of BERT.
const WORDS: [&str; 16] = [
    "good", "bad", "film", "story", "great", "actor", "music", "light", "house", "water", "river",
    "stone", "tree", "green", "blue", "red",
];

/// Rows a batch, tokens a row, and other flags.
const CASES: &[(usize, usize, &str)] = &[
    (1, 32, ""),
    (8, 32, ""),
    (8, 128, ""),
    (32, 32, ""),
    (32, 64, ""),
    (32, 128, ""),
    (8, 32, "--target-modules all-linear"),
    (8, 128, "--target-modules all-linear"),
    (32, 64, "--target-modules all-linear"),
    (32, 128, "--target-modules all-linear"),
    (32, 64, "--target-modules all-linear --rank 64"),
    (32, 64, "--target-modules all-linear --adapter-dropout 0.1"),
    (32, 64, "--layers 5"),
    (8, 128, "--recompute"),
    (32, 128, "--recompute"),
    (32, 128, "--recompute --target-modules all-linear"),
    (8, 32, "--base-dtype bf16"),
    (32, 128, "--base-dtype bf16"),
];

/// The same on random models that predict the next token.
const LANGUAGE_CASES: &[(usize, usize, &str)] = &[
    (4, 64, ""),
    (8, 128, ""),
    (8, 128, "--target-modules all-linear"),
    (8, 256, "--target-modules all-linear"),
    (8, 256, "--target-modules all-linear --recompute"),
    (8, 128, "--quantize nf4"),
    (
        8,
        256,
        "--quantize int8 --target-modules all-linear --recompute",
    ),
];

/// The same on SmolLM2, from blocks and from floats.
const SMOLLM2_CASES: &[(usize, usize, &str)] = &[
    (4, 256, ""),
    (4, 256, "--recompute"),
    (4, 256, "--target-modules all-linear"),
    (4, 256, "--base-dtype f32"),
    (4, 256, "--base-dtype f32 --recompute"),
    (4, 256, "--base-dtype bf16"),
];

/// Bytes of one case.
struct Measured {
    model: &'static str,
    case: String,
    /// What the estimate may be off by.
    tolerance: f64,
    load: f64,
    step: f64,
    evaluation: f64,
    estimate: f64,
    steps: f64,
    run: f64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let model = match &arguments.model {
        Some(path) => path.clone(),
        None => fetch::everything()?.join("minilm"),
    };
    let peft = workspace::build("peft", arguments.release)?;
    let folder = workspace::target().join("plan-check");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let llama = random::llama(&folder.join("llama"))?;
    let mamba = random::mamba(&folder.join("mamba"))?;
    let mut found = Vec::new();
    let mut models = vec![
        ("all-MiniLM-L6-v2", &model, CASES, ENCODER),
        ("a Llama", &llama, LANGUAGE_CASES, LANGUAGE),
        // No layer of a Mamba is left out by quantising, so that one case says enough.
        ("a Mamba", &mamba, &LANGUAGE_CASES[..6], LANGUAGE),
    ];
    if let Some(file) = &arguments.smollm2 {
        models.push(("SmolLM2-135M", file, SMOLLM2_CASES, LANGUAGE));
    }
    for (name, model, cases, tolerance) in models {
        if arguments
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only))
        {
            continue;
        }
        for case in cases {
            let measured = measure(&peft, (name, model), &folder, *case, tolerance)?;
            eprintln!(
                "{name}, {}: {:.0} MB estimated, {:.0} MB measured",
                measured.case,
                measured.estimate / 1e6,
                measured.run / 1e6
            );
            found.push(measured);
        }
    }
    let output = workspace::root().join(&arguments.output);
    files::write_atomic(&output, table(&found, arguments.release).as_bytes())?;
    println!("{}", output.display());
    let off = |m: &&Measured| (m.estimate / m.run - 1.0).abs() > m.tolerance;
    let wrong = found.iter().filter(off);
    let wrong: Vec<String> = wrong.map(|m| format!("{}: {}", m.model, m.case)).collect();
    ensure!(
        wrong.is_empty(),
        "estimates are further off than they may be: {}",
        wrong.join(", ")
    );
    Ok(())
}

fn measure(
    peft: &Path,
    (name, model): (&'static str, &Path),
    folder: &Path,
    (batch, length, flags): (usize, usize, &str),
    tolerance: f64,
) -> Result<Measured> {
    let encoder = tolerance == ENCODER;
    let count = if name.starts_with("Smol") {
        FEW_ROWS
    } else {
        ROWS
    };
    let rows = match encoder {
        true => folder.join(format!("rows-{length}.csv")),
        false => folder.join(format!("rows-{length}-{count}.jsonl")),
    };
    let text = match encoder {
        true => sentences(length),
        false => texts(length, count),
    };
    files::write_atomic(&rows, text.as_bytes())?;
    let arguments = |command: &mut Command| {
        command.arg("--model").arg(model).arg("--data").arg(&rows);
        // All rows evaluate, so that a whole batch of an evaluation is among what is measured.
        command.arg("--select-data").arg(&rows);
        command.args(["--batch-size", &batch.to_string()]);
        command.args(["--max-length", &length.to_string(), "--steps", "3"]);
        if !encoder {
            command.args(["--task", "causal-lm"]);
        }
        command.args(flags.split_whitespace());
    };
    let mut plan = Command::new(peft);
    plan.args(["plan", "--json"]);
    arguments(&mut plan);
    let planned = plan.output().context("cannot start peft")?;
    ensure!(
        planned.status.success(),
        "peft plan failed: {}",
        String::from_utf8_lossy(&planned.stderr)
    );
    let planned: Value = serde_json::from_slice(&planned.stdout)?;
    ensure!(
        planned["batch_tokens"] == batch * length,
        "rows of {length} tokens were asked for, {} tokens came",
        planned["batch_tokens"]
    );

    let output = folder.join("out");
    let mut train = Command::new(peft);
    train
        .arg("train")
        .arg("--output")
        .arg(&output)
        .arg("--overwrite");
    arguments(&mut train);
    process::run_measured(&mut train, &folder.join("train.log"))?;
    let events = files::read(&output.join("metrics.jsonl"))?;
    let peak = |kind: &str| -> Result<f64> {
        let events = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut events = events.filter(|event| event["event"] == kind);
        let last = events.next_back();
        let bytes = last.and_then(|event| event["peak_memory"].as_f64());
        bytes.with_context(|| format!("no {kind} event with peak_memory"))
    };
    let memory = |part: &str| planned["memory"][part].as_f64().context("no such estimate");
    Ok(Measured {
        model: name,
        tolerance,
        case: format!("{batch} × {length} {flags}").trim().to_owned(),
        load: memory("load")?,
        step: memory("step")?,
        evaluation: memory("evaluation")?,
        estimate: memory("peak")?,
        steps: peak("step")?,
        run: peak("final")?,
    })
}

/// Rows of two labels, each of `length` tokens with the two special ones.
fn sentences(length: usize) -> String {
    let mut text = "text,label\n".to_owned();
    for row in 0..ROWS {
        let words = (0..length - 2).map(|i| WORDS[(row * 7 + i * 5 + i / 11) % WORDS.len()]);
        let label = ["praise", "blame"][row % 2];
        let _ = writeln!(text, "{},{label}", words.collect::<Vec<_>>().join(" "));
    }
    text
}

/// The same as texts of `length` tokens or more, which are cut.
fn texts(length: usize, rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let words = (0..length).map(|i| WORDS[(row * 7 + i * 5 + i / 11) % WORDS.len()]);
        let words = words.collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{}", serde_json::json!({ "text": words }));
    }
    text
}

fn table(found: &[Measured], release: bool) -> String {
    let profile = if release { "release" } else { "dev" };
    let mut text = format!(
        "# Estimated and measured memory\n\n\
         Written by `cargo xtask plan-check`; {profile} build, three steps on rows that are \
         as long as allowed, then an evaluation of {ROWS} rows ({FEW_ROWS} with SmolLM2, of its Q4_1 file, \
         `--smollm2`). The Llama (32 million values) and the Mamba (31 million) are random.\n\n\
         - *estimate*: `memory.peak` of `peft plan`, the largest of loading, a step and an evaluation.\n\
         - *steps*, *run*: `peak_memory` of the last step and of the `final` event: the kernel's high-water mark \
         of the resident set (`VmHWM`), mapped files included.\n\
         - *off*: the estimate against *run*; more than {:.0} % of an encoder and {:.0} % of the others fails the \
         command.\n\n\
         Megabytes. The constants of the estimate (process, tokenizer, what passes through a backward pass and \
         an evaluation) were fitted to runs on MiniLM.\n\n\
         | model | rows × tokens, flags | loading | step | evaluation | estimate | steps | run | off |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        100.0 * ENCODER,
        100.0 * LANGUAGE
    );
    let mb = |bytes: f64| format!("{:.0}", bytes / 1e6);
    for m in found {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:+.1} % |",
            m.model,
            m.case,
            mb(m.load),
            mb(m.step),
            mb(m.evaluation),
            mb(m.estimate),
            mb(m.steps),
            mb(m.run),
            100.0 * (m.estimate / m.run - 1.0)
        );
    }
    text
}
