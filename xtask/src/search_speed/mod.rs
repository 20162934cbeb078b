//! `cargo xtask search-speed`: trials an hour of `peft search`, held against separate runs of `peft train`.
//!
//! The same configurations run for the same steps in every way: as processes of their own, and as one search with preparation
//! shared, with hidden states kept, with trials stopped early, and with all of that.

mod list;
mod report;
mod way;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::list::CONFIGURATIONS;
use self::way::Way;
use crate::bench::Machine;
use crate::study::first_rows;
use crate::{fetch, files, process, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of model and data, instead of the cache
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The `peft` binary, instead of building it
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Rows to fit
    #[arg(long, default_value_t = 256)]
    rows: usize,
    /// Rows to select by
    #[arg(long, default_value_t = 64)]
    select: usize,
    /// Passes over the rows
    #[arg(long, default_value_t = 9)]
    epochs: u32,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Other work shares the machine: compare by the processor's time alone
    #[arg(long)]
    contended: bool,
    /// Folder of the report
    #[arg(long, value_name = "DIR", default_value = "docs/runs")]
    report: PathBuf,
}

/// Rows of a batch, and tokens of a row at most.
const BATCH: usize = 16;
const LENGTH: usize = 48;

/// Trials that could be computed in one batch.
const SIDE_BY_SIDE: usize = 4;

/// What a way took and came to.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    way: Way,
    wall_s: f64,
    /// User and system time of its processes.
    processor_s: f64,
    peak_bytes: Option<u64>,
    trials: Vec<Trial>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    configuration: String,
    steps: u64,
    /// Loss on the rows that select, after the last step.
    selection_loss: f64,
}

#[derive(Serialize, Deserialize)]
struct Report {
    machine: Machine,
    contended: bool,
    peft: String,
    model: String,
    rows: usize,
    selection_rows: usize,
    batch: usize,
    tokens: usize,
    epochs: u32,
    threads: u32,
    ways: Vec<Measured>,
    /// The first configuration with [`SIDE_BY_SIDE`] times the rows a batch: its time by that of as many epochs of ordinary batches.
    batched: f64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let peft = match &arguments.peft {
        Some(path) => path.clone(),
        None => workspace::build("peft", true)?,
    };
    let data = match &arguments.data {
        Some(path) => path.clone(),
        None => fetch::of_folders(|folder| ["minilm", "rotten_tomatoes"].contains(&folder))?,
    };
    let work = workspace::target().join("search-speed");
    files::remove_folder(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let rows = data.join("rotten_tomatoes");
    first_rows(
        &rows.join("fit_small.csv"),
        arguments.rows,
        &work.join("fit.csv"),
    )?;
    first_rows(
        &rows.join("select_small.csv"),
        arguments.select,
        &work.join("select.csv"),
    )?;
    let bench = Bench {
        peft,
        model: data.join("minilm"),
        work,
        epochs: arguments.epochs,
        threads: arguments.threads,
    };
    let mut ways = Vec::new();
    for way in Way::SEARCHES {
        ways.push(bench.search(way)?);
    }
    // Their settings are those that the search has written for its trials.
    ways.insert(0, bench.separate()?);
    check_equal(&ways)?;
    let batched = bench.batched(arguments.contended)?;
    let report = Report {
        machine,
        contended: arguments.contended,
        peft: crate::study::version(&bench.peft)?,
        model: "minilm".to_owned(),
        rows: arguments.rows,
        selection_rows: arguments.select,
        batch: BATCH,
        tokens: LENGTH,
        epochs: arguments.epochs,
        threads: arguments.threads,
        ways,
        batched,
    };
    let folder = workspace::root().join(&arguments.report);
    let mut json = serde_json::to_string_pretty(&report).context("cannot write the report")?;
    json.push('\n');
    files::write_atomic(&folder.join("search-speed.json"), json.as_bytes())?;
    let text = folder.join("search-speed.md");
    files::write_atomic(&text, report.markdown().as_bytes())?;
    println!("{}", text.display());
    Ok(())
}

/// Programs, folders and settings.
struct Bench {
    peft: PathBuf,
    model: PathBuf,
    work: PathBuf,
    epochs: u32,
    threads: u32,
}

impl Bench {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.peft);
        command.args(arguments);
        command
    }

    /// The command of a search of `trials` trials.
    fn begin(&self, way: Way, folder: &Path, trials: usize) -> Command {
        let mut command = self.command(&["search", "--offline", "--task", "classify"]);
        for (flag, path) in [
            ("--model", &self.model),
            ("--data", &self.work.join("fit.csv")),
            ("--select-data", &self.work.join("select.csv")),
            ("--output", &folder.to_owned()),
        ] {
            command.arg(flag).arg(path);
        }
        let methods: std::collections::BTreeSet<&str> =
            CONFIGURATIONS.iter().map(|one| one.method).collect();
        let methods: Vec<&str> = methods.into_iter().collect();
        for (flag, value) in [
            ("--methods", methods.join(",")),
            ("--trials", trials.to_string()),
            ("--epochs", self.epochs.to_string()),
            ("--batch-size", BATCH.to_string()),
            ("--max-length", LENGTH.to_string()),
            ("--model-dropout", "0".to_owned()),
            ("--threads", self.threads.to_string()),
        ] {
            command.arg(flag).arg(value);
        }
        command.args(way.flags());
        // What is kept of all trials that run to their end is what the last of the ways reads.
        if matches!(way, Way::Kept | Way::Known) {
            command.arg("--trial-cache").arg(self.work.join("trials"));
        }
        command
    }

    /// One search of the list.
    fn search(&self, way: Way) -> Result<Measured> {
        let folder = self.work.join(way.name());
        let log = |name: &str| self.work.join(format!("{}-{name}.log", way.name()));
        // Nothing is tried yet, so that what is queued comes in the order of the list.
        process::run_measured(&mut self.begin(way, &folder, 0), &log("begin"))?;
        for (place, configuration) in CONFIGURATIONS.iter().enumerate() {
            // A search queues the first, LoRA as it is by default, by itself.
            if place > 0 {
                let mut enqueue = self.command(&["search", "enqueue"]);
                enqueue.arg(&folder).args(configuration.values());
                process::run_measured(&mut enqueue, &log("enqueue"))?;
            }
        }
        let (usage, processor_s) = timed(
            &mut self.begin(way, &folder, CONFIGURATIONS.len()),
            &log("search"),
        )?;
        let trials = (0..CONFIGURATIONS.len())
            .map(|trial| {
                let log = folder.join(format!("trials/{trial:06}/metrics.jsonl"));
                match log.is_file() {
                    true => Trial::read(&CONFIGURATIONS[trial].words(), &log),
                    // What came from the cache has no folder unless it is on the front.
                    false => Ok(Trial::known(&CONFIGURATIONS[trial].words())),
                }
            })
            .collect::<Result<_>>()?;
        Ok(Measured::new(way, usage, processor_s, trials))
    }

    /// `peft train` with the settings of a trial, into a folder: its time, the processor's, and where its log is.
    fn train(
        &self,
        place: usize,
        batch: usize,
        name: &str,
    ) -> Result<(process::Usage, f64, PathBuf)> {
        let settings = self
            .work
            .join(format!("{}/trials/{place:06}/run.toml", Way::Shared.name()));
        let output = self.work.join(format!("{name}/{place:06}"));
        let mut command = self.command(&["train", "--offline", "--config"]);
        command.arg(&settings);
        let (threads, batch) = (self.threads.to_string(), batch.to_string());
        command.args(["--threads", &threads, "--batch-size", &batch, "--output"]);
        command.arg(&output);
        let log = self.work.join(format!("{name}-{place:06}.log"));
        let (usage, processor_s) = timed(&mut command, &log)?;
        Ok((usage, processor_s, output.join("metrics.jsonl")))
    }

    /// Every configuration as a process of its own.
    fn separate(&self) -> Result<Measured> {
        let mut all = Measured::new(Way::Separate, process::Usage::default(), 0.0, Vec::new());
        for (place, configuration) in CONFIGURATIONS.iter().enumerate() {
            let (usage, processor_s, log) = self.train(place, BATCH, Way::Separate.name())?;
            all.wall_s += usage.wall.as_secs_f64();
            all.processor_s += processor_s;
            all.peak_bytes = all.peak_bytes.max(usage.peak_rss_anon_bytes);
            all.trials.push(Trial::read(&configuration.words(), &log)?);
        }
        eprintln!(
            "{}: {:.1} s of the processor",
            Way::Separate.name(),
            all.processor_s
        );
        Ok(all)
    }

    /// What a batch of several trials could gain at most, by one with as many rows: the least of three alternating runs each.
    fn batched(&self, contended: bool) -> Result<f64> {
        let mut least = [f64::INFINITY; 2];
        for round in 0..3 {
            for (least, times) in least.iter_mut().zip([1, SIDE_BY_SIDE]) {
                let name = format!("batched-{round}-{times}");
                let (usage, processor_s, _) = self.train(0, times * BATCH, &name)?;
                let seconds = match contended {
                    true => processor_s,
                    false => usage.wall.as_secs_f64(),
                };
                *least = least.min(seconds);
            }
        }
        Ok(least[1] / least[0])
    }
}

impl Measured {
    fn new(way: Way, usage: process::Usage, processor_s: f64, trials: Vec<Trial>) -> Self {
        if processor_s > 0.0 {
            eprintln!("{}: {processor_s:.1} s of the processor", way.name());
        }
        Self {
            way,
            wall_s: usage.wall.as_secs_f64(),
            processor_s,
            peak_bytes: usage.peak_rss_anon_bytes,
            trials,
        }
    }
}

impl Trial {
    /// A trial that was not run.
    fn known(configuration: &str) -> Self {
        Self {
            configuration: configuration.to_owned(),
            steps: 0,
            selection_loss: f64::NAN,
        }
    }

    /// The end of a trial's log.
    fn read(configuration: &str, log: &Path) -> Result<Self> {
        let text = files::read(log)?;
        let mut found = Self::known(configuration);
        for line in text.lines() {
            let event: Value = serde_json::from_str(line)
                .with_context(|| format!("{} has a line that is not JSON", log.display()))?;
            match event["event"].as_str() {
                Some("step") => found.steps = event["step"].as_u64().unwrap_or(found.steps),
                Some("eval") if event["split"] == "selection" => {
                    found.selection_loss = event["loss"].as_f64().unwrap_or(f64::NAN);
                }
                _ => {}
            }
        }
        ensure!(
            found.steps > 0 && found.selection_loss.is_finite(),
            "{} tells of no step, or of no evaluation",
            log.display()
        );
        Ok(found)
    }
}

/// Runs a command with the seconds that the processor worked for it.
fn timed(command: &mut Command, log: &Path) -> Result<(process::Usage, f64)> {
    let before = process::children_time()?;
    let usage = process::run_measured(command, log)?;
    let time: Duration = process::children_time()?.saturating_sub(before);
    Ok((usage, time.as_secs_f64()))
}

/// Trials of equal steps came to the same loss, bit by bit, whichever way they ran.
fn check_equal(ways: &[Measured]) -> Result<()> {
    let mut known: BTreeMap<(&str, u64), f64> = BTreeMap::new();
    for way in ways {
        for trial in way.trials.iter().filter(|trial| trial.steps > 0) {
            let key = (trial.configuration.as_str(), trial.steps);
            let first = *known.entry(key).or_insert(trial.selection_loss);
            ensure!(
                first == trial.selection_loss,
                "{}: {} ended with the loss {}, and with {first} in another way: what is kept changes results",
                way.way.name(),
                trial.configuration,
                trial.selection_loss
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(way: Way, losses: &[(u64, f64)]) -> Measured {
        let trials = losses.iter().map(|&(steps, selection_loss)| Trial {
            configuration: "lora".into(),
            steps,
            selection_loss,
        });
        Measured::new(way, process::Usage::default(), 0.0, trials.collect())
    }

    #[test]
    fn one_bit_of_a_loss_is_noticed() {
        let separate = measured(Way::Separate, &[(8, 0.5)]);
        let stopped = measured(Way::Stopped, &[(4, 0.6), (0, f64::NAN)]);
        let same = measured(Way::Kept, &[(8, 0.5)]);
        check_equal(&[separate, stopped, same]).unwrap();
        let other = measured(Way::Kept, &[(8, 0.5_f64.next_up())]);
        let separate = measured(Way::Separate, &[(8, 0.5)]);
        let error = check_equal(&[separate, other]).unwrap_err().to_string();
        assert!(error.contains("kept: lora"), "{error}");
    }
}
