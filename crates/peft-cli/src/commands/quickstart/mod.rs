//! `peft quickstart`: from nothing to an adapter that is better than none, and what to do next.

mod arm;
mod causal;
mod data;
mod next;
mod outcome;
mod plot;
mod tweets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{
    DeviceChoice, MergeOptions, MergeReport, core::format::atomic::write_atomic_bytes, merge,
};

use self::arm::Arm;
use self::outcome::Outcome;
use super::{print, set_threads};
use crate::args::QuickstartArgs;
use crate::{interrupt, model, progress};

/// What both arms share.
struct Job<'a> {
    model: PathBuf,
    output: &'a Path,
    seed: u64,
    steps: Option<u64>,
    resume: bool,
    overwrite: bool,
    device: DeviceChoice,
}

/// Of a classifier, or of a language model.
pub fn quickstart(args: &QuickstartArgs, offline: bool) -> Result<ExitCode> {
    match args.causal {
        true => causal::quickstart(args, offline),
        false => classifier(args, offline),
    }
}

/// Trains a head alone and with LoRA on the same rows; 1 where LoRA is not ahead on rows held out. A logistic
/// regression on the frozen model's features stands beside both.
fn classifier(args: &QuickstartArgs, offline: bool) -> Result<ExitCode> {
    set_threads(args.compute.threads)?;
    let selected = args.compute.device.select()?;
    let job = Job {
        model: match &args.model {
            Some(model) => model.clone(),
            None => model::minilm(offline)?,
        },
        output: &args.output(),
        seed: args.seed,
        steps: args.steps,
        resume: args.resume,
        overwrite: args.overwrite,
        device: args.compute.device,
    };
    tell!("model: {}", job.model.display());
    let data = tweets::write(job.output)?;
    let stop = interrupt::watch()?;
    let mut marks = Vec::new();
    for arm in [Arm::HEAD, Arm::LORA] {
        tell!("\n{}", arm.title);
        let mut progress = progress::renderer(args.log_format, stop.clone());
        marks.push(arm.train_and_mark(&job, &data, &selected, progress.as_mut())?);
    }
    let [head, lora] = [&marks[0], &marks[1]];
    let merged = job.output.join("merged");
    let adapter = Arm::LORA.folder(&job);
    let merging = merge(&MergeOptions {
        // Runs that went on may have been merged before.
        overwrite: job.overwrite || job.resume,
        ..MergeOptions::new(&job.model, &adapter, &merged, &selected.device)
    })?;
    let outcome = Outcome::new(&head.trained, head.frozen.as_deref(), &lora.trained);
    outcome.write(job.output)?;
    write_atomic_bytes(
        &job.output.join("quickstart.svg"),
        plot::bars(&outcome).as_bytes(),
    )?;
    let next = next::classifier(&job.model, job.output)?;
    print(&(summary(&job, &outcome, &merging) + &next))?;
    if outcome.ahead() {
        return Ok(ExitCode::SUCCESS);
    }
    tell!("peft: LoRA is not ahead of the head by more than two standard errors");
    Ok(ExitCode::from(1))
}

fn summary(job: &Job, outcome: &Outcome, merging: &MergeReport) -> String {
    let percent = |share: f64| 100.0 * share;
    let arms = outcome.arms();
    let width = arms.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut shares = String::new();
    for (name, share) in arms {
        shares += &format!("  {name:width$}  {:5.1} %\n", percent(share));
    }
    format!(
        "\nRight answers on {} tweets held out:\n\
         {shares}\
         \x20 {:width$}  {:+5.1} points, standard error {:.1} (paired over the rows)\n\
         \nIn {}:\n\
         \x20 head/, lora/     adapters, with metrics.jsonl beside them\n\
         \x20 merged/          the model with LoRA merged in: {} weights, largest change {:.3}\n\
         \x20 data/            the tweets, with their notice\n\
         \x20 quickstart.json  these numbers; quickstart.svg draws them\n",
        outcome.rows,
        "LoRA ahead of the head by",
        percent(outcome.difference),
        percent(outcome.standard_error),
        job.output.display(),
        merging.merged,
        merging.largest_change,
    )
}
