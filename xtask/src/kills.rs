//! `cargo xtask kills`: training runs killed at random moments and resumed, and the report of it.

#[path = "../../tests/shared/kills.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use self::harness::{Kill, Outcome, Place, Setup};
use crate::{bench::Machine, files, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Kills in all
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Seed of the moments
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The `peft` binary, instead of building it
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Kill runs of a language model on a base in NF4, and not those of an encoder
    #[arg(long)]
    quantised: bool,
    /// Folder of the report
    #[arg(long, value_name = "DIR", default_value = "docs/runs")]
    report: PathBuf,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    base: &'static str,
    quantised: bool,
    seed: u64,
    kills: usize,
    /// Runs that were killed, resumed to their end, and compared.
    runs: usize,
    steps_of_a_run: u64,
    files_compared: usize,
    seconds_of_the_run_left_alone: f64,
    places: BTreeMap<&'static str, usize>,
    threads: BTreeMap<usize, usize>,
    /// Kills by the steps done at the last checkpoint, in tenths of the run.
    tenths: [usize; 10],
    each: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    run: usize,
    threads: usize,
    after_ms: u128,
    place: &'static str,
    step: Option<u64>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let peft = match &arguments.peft {
        Some(path) => path.clone(),
        None => workspace::build("peft", false)?,
    };
    let work = workspace::target().join("kills");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    let setup = Setup {
        peft,
        goldens: workspace::root().join("tests/goldens"),
        work,
        quantised: arguments.quantised,
        count: arguments.count,
        seed: arguments.seed,
    };
    let mut done = 0;
    let outcome = harness::run(&setup, &mut |kill| {
        done += 1;
        let Kill { run, threads, .. } = kill;
        let (ms, place) = (kill.after.as_millis(), name(kill.place));
        eprintln!(
            "kill {done} of {}: run {run}, {threads} threads, {ms} ms: {place}",
            setup.count
        );
    })?;
    let report = Report::new(machine, arguments, &outcome);
    let folder = workspace::root().join(&arguments.report);
    let mut json = serde_json::to_string_pretty(&report).context("cannot write the report")?;
    json.push('\n');
    let stem = if arguments.quantised {
        "kills-quantised"
    } else {
        "kills"
    };
    files::write_atomic(&folder.join(format!("{stem}.json")), json.as_bytes())?;
    let text = folder.join(format!("{stem}.md"));
    files::write_atomic(&text, report.markdown().as_bytes())?;
    println!("{}", text.display());
    Ok(())
}

fn name(place: Place) -> &'static str {
    match place {
        Place::BeforeCheckpoints => "before the first checkpoint",
        Place::InCheckpoint => "while a checkpoint was written",
        Place::InAdapter => "while an adapter was written",
        Place::Between => "between writes",
    }
}

impl Report {
    fn new(machine: Machine, arguments: &Arguments, outcome: &Outcome) -> Self {
        let (mut places, mut threads, mut tenths) = (BTreeMap::new(), BTreeMap::new(), [0; 10]);
        for kill in &outcome.kills {
            *places.entry(name(kill.place)).or_default() += 1;
            *threads.entry(kill.threads).or_default() += 1;
            if let Some(step) = kill.step {
                tenths[(step * 10 / outcome.steps.max(1)).min(9) as usize] += 1;
            }
        }
        let row = |kill: &Kill| Row {
            run: kill.run,
            threads: kill.threads,
            after_ms: kill.after.as_millis(),
            place: name(kill.place),
            step: kill.step,
        };
        Self {
            machine,
            base: match arguments.quantised {
                true => "a tiny Llama in NF4, doubly quantised, with LoRA on all linear layers",
                false => "a tiny BERT",
            },
            quantised: arguments.quantised,
            seed: arguments.seed,
            kills: outcome.kills.len(),
            runs: (outcome.kills.iter().map(|kill| kill.run))
                .collect::<BTreeSet<_>>()
                .len(),
            steps_of_a_run: outcome.steps,
            files_compared: outcome.files,
            seconds_of_the_run_left_alone: outcome.whole.as_secs_f64(),
            places,
            threads,
            tenths,
            each: outcome.kills.iter().map(row).collect(),
        }
    }

    fn markdown(&self) -> String {
        let machine = &self.machine;
        let threads: Vec<String> = (self.threads.iter())
            .map(|(threads, count)| format!("{count} on {threads}"))
            .collect();
        let mut text = format!(
            "# Killed training runs\n\n\
             Written by `cargo xtask kills --count {} --seed {}{}` on {} {}, {} cores, commit {}, {}.\n\n\
             {} processes of `peft train` on {} were ended by SIGKILL at random moments, in {} runs of {} steps \
             (adapter and model dropout, two batches a step, a cosine schedule, selection and \
             evaluation at each epoch, a checkpoint every second step); each was resumed until its \
             end, on 1, 2 and 4 threads in turn ({}). **Every run ended in the bytes of the run that \
             was left alone**: the result on standard output and {} files (adapters, labels, log and \
             state, whose digest covers weights and moments; times excepted). Left alone, the run took \
             {:.1} s.\n\n\
             | where the kill fell | kills |\n|---|---:|\n",
            self.kills,
            self.seed,
            if self.quantised { " --quantised" } else { "" },
            machine.system,
            machine.architecture,
            machine.cores,
            machine.commit,
            machine.rustc,
            self.kills,
            self.base,
            self.runs,
            self.steps_of_a_run,
            threads.join(", "),
            self.files_compared,
            self.seconds_of_the_run_left_alone,
        );
        for (place, count) in &self.places {
            let _ = writeln!(text, "| {place} | {count} |"); // writing to a string cannot fail
        }
        text += "\n| last checkpoint at | kills |\n|---|---:|\n";
        for (tenth, count) in self.tenths.iter().enumerate() {
            let (from, to) = (tenth * 10, tenth * 10 + 10);
            let _ = writeln!(text, "| {from}–{to} % of the steps | {count} |");
        }
        text
    }
}
