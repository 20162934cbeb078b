//! `cargo xtask footprint --merge-3b`: the memory of merging into a checkpoint of three billion values.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::checkpoint::{Shape, adapter, base};
use crate::bench::Machine;
use crate::process::{Usage, run_measured};
use crate::{files, workspace};

/// What merging may hold beside the largest tensor.
const ALLOWED: u64 = 200_000_000;

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    shape: Shape,
    values: u64,
    checkpoint_bytes: u64,
    shards: usize,
    largest_tensor: String,
    largest_tensor_bytes: u64,
    largest_merged_bytes: u64,
    adapter_bytes: u64,
    peak_anonymous_bytes: u64,
    peak_resident_bytes: Option<u64>,
    seconds: f64,
    allowed_bytes: u64,
    within: bool,
}

/// Generates a base and an adapter in a folder of the build's, merges them, and clears the folder.
pub fn run(peft: &Path, quick: bool) -> Result<()> {
    let work = workspace::target().join("footprint/merge");
    clear(&work)?;
    let machine = Machine::look();
    let measured = measure(peft, &work, quick, machine);
    clear(&work)?;
    let report = measured?;
    let folder = match quick {
        true => workspace::target().join("benchmarks"),
        false => workspace::root().join("docs/benchmarks"),
    };
    let mut json = serde_json::to_string_pretty(&report)?;
    json.push('\n');
    files::write_atomic(&folder.join("merge-memory.json"), json.as_bytes())?;
    let text = markdown(&report);
    files::write_atomic(&folder.join("merge-memory.md"), text.as_bytes())?;
    print!("{text}");
    ensure!(report.within, "the peak is above what merging may hold");
    Ok(())
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    Ok(())
}

fn measure(peft: &Path, work: &Path, quick: bool, machine: Machine) -> Result<Report> {
    let shape = if quick { Shape::TINY } else { Shape::THREE_B };
    let [model, lora, merged] = ["model", "adapter", "merged"].map(|name| work.join(name));
    eprintln!("generating the checkpoint");
    let written = base(&shape, &model)?;
    let adapter_bytes = adapter(&shape, &lora)?;
    let mut command = Command::new(peft);
    command.args(["merge", "--device", "cpu"]);
    for (flag, path) in [
        ("--model", &model),
        ("--adapter", &lora),
        ("--output", &merged),
    ] {
        command.arg(flag).arg(path);
    }
    eprintln!("merging");
    let log: PathBuf = work.join("merge.log");
    let usage: Usage = run_measured(&mut command, &log)?;
    let output = merged.join("model.safetensors");
    let size = fs::metadata(&output).with_context(|| format!("no {}", output.display()))?;
    ensure!(
        size.len() >= written.tensor_bytes,
        "the merged file is smaller than its tensors"
    );
    let peak = usage.peak_rss_anon_bytes;
    let peak = peak.context("the system does not tell anonymous memory")?;
    let allowed_bytes = written.largest_bytes + ALLOWED;
    Ok(Report {
        machine,
        values: written.tensor_bytes / 2,
        checkpoint_bytes: written.tensor_bytes,
        shards: written.shards,
        largest_tensor: written.largest,
        largest_tensor_bytes: written.largest_bytes,
        largest_merged_bytes: 2 * (shape.hidden * shape.intermediate) as u64,
        shape,
        adapter_bytes,
        peak_anonymous_bytes: peak,
        peak_resident_bytes: usage.peak_rss_bytes,
        seconds: usage.wall.as_secs_f64(),
        allowed_bytes,
        within: peak <= allowed_bytes,
    })
}

fn markdown(report: &Report) -> String {
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    let Shape {
        hidden,
        intermediate,
        layers,
        vocab,
        rank,
        ..
    } = report.shape;
    let mut text = format!(
        "# Memory of a merge\n\n<!-- Written by `cargo xtask footprint --merge-3b`; changes by hand are \
         lost. -->\n\nA generated bf16 checkpoint of BERT's layout in {} shards ({layers} layers of width \
         {hidden} and {intermediate}, {vocab} words: {:.2} thousand million values, {:.2} GB), a generated \
         LoRA adapter of rank {rank} on all linear layers of the blocks ({}), `peft merge` in one process. \
         {} of {} cores, {}; commit {}. Anonymous memory is sampled every 20 ms; mapped pages of the \
         checkpoint are not part of it. Raw figures: [merge-memory.json](merge-memory.json).\n\n",
        report.shards,
        report.values as f64 / 1e9,
        report.checkpoint_bytes as f64 / 1e9,
        megabytes(report.adapter_bytes),
        report.machine.architecture,
        report.machine.cores,
        report.machine.rustc,
        report.machine.commit,
    );
    let _ = writeln!(
        text,
        "| | |\n|---|--:|\n| largest tensor, `{}` | {} |\n| largest merged tensor | {} |\n| peak of \
         anonymous memory | **{}** |\n| allowed: largest tensor and 200 MB | {} |\n| within | {} |\n\
         | seconds | {:.0} |",
        report.largest_tensor,
        megabytes(report.largest_tensor_bytes),
        megabytes(report.largest_merged_bytes),
        megabytes(report.peak_anonymous_bytes),
        megabytes(report.allowed_bytes),
        if report.within { "yes" } else { "**no**" },
        report.seconds,
    );
    text
}
