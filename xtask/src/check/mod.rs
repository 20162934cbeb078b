//! `cargo xtask test`: what a change must pass; with `--all`, what CI runs. It needs no root.

pub mod backends;
#[cfg(test)]
mod guide_tests;
mod packages;
mod real_model;
mod search;
mod steps;
mod tally;

use std::process;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::steps::Step;
use self::tally::Tally;

#[derive(clap::Args)]
pub struct Arguments {
    /// Also docs, the other backends, a database, checks for cuda and ARM, and a short run on a real model
    #[arg(long)]
    all: bool,

    /// Run this step alone, by its name in the table that a run ends with; may be repeated
    #[arg(long, value_name = "STEP", conflicts_with = "all")]
    only: Vec<String>,
}

/// How one step went.
struct Report {
    name: &'static str,
    wall: Duration,
    tally: Tally,
    /// Why it failed; `None` where it passed.
    failure: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut reports = Vec::new();
    let steps = steps::all();
    for name in &arguments.only {
        let names = || steps.iter().map(|step| step.name).collect::<Vec<_>>();
        ensure!(
            names().contains(&name.as_str()),
            "there is no step `{name}`; expected one of {}",
            names().join(", ")
        );
    }
    let chosen = |step: &Step| match arguments.only.is_empty() {
        true => arguments.all || step.always,
        false => arguments.only.iter().any(|name| name == step.name),
    };
    for step in steps.into_iter().filter(chosen) {
        println!("\n== {} ==", step.name);
        let (started, mut tally) = (Instant::now(), Tally::default());
        // A failed step does not hide what the later ones would say.
        let failure = (step.run)(&mut tally)
            .err()
            .map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            println!("{} failed: {failure}", step.name);
        }
        reports.push(Report {
            name: step.name,
            wall: started.elapsed(),
            tally,
            failure,
        });
    }
    let failed = print(&reports);
    if failed > 0 {
        // Not an error of `main`: nothing is to follow the closing line, which CI reads.
        process::exit(1);
    }
    Ok(())
}

impl Report {
    /// What the table says of it.
    fn result(&self) -> String {
        match (&self.failure, &self.tally.skipped) {
            (Some(failure), _) => failure.lines().next().unwrap_or_default().to_owned(),
            (None, Some(why)) => format!("skipped: {why}"),
            (None, None) => "ok".to_owned(),
        }
    }
}

/// Prints the table and the closing lines; returns the number of failed steps.
fn print(reports: &[Report]) -> usize {
    println!(
        "\n{:<24} {:>8} {:>8} {:>8}  result",
        "step", "time", "passed", "failed"
    );
    for report in reports {
        let seconds = report.wall.as_secs();
        let time = format!("{}:{:02}", seconds / 60, seconds % 60);
        let Tally { passed, failed, .. } = report.tally;
        println!(
            "{:<24} {time:>8} {passed:>8} {failed:>8}  {}",
            report.name,
            report.result()
        );
    }
    let failed = (reports.iter().filter(|report| report.failure.is_some())).count();
    let skipped = (reports.iter())
        .filter(|report| report.failure.is_none() && report.tally.skipped.is_some())
        .count();
    let wall: Duration = reports.iter().map(|report| report.wall).sum();
    println!(
        "\n{} of {} steps passed, {skipped} skipped, in {} minutes",
        reports.len() - failed - skipped,
        reports.len(),
        wall.as_secs().div_ceil(60)
    );
    let sum =
        |of: fn(&Tally) -> u64| -> u64 { reports.iter().map(|report| of(&report.tally)).sum() };
    println!(
        "{} passed, {} failed",
        sum(|tally| tally.passed),
        sum(|tally| tally.failed)
    );
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_is_not_called_ok() {
        let mut tally = Tally::default();
        tally.skip("no server");
        let mut report = Report {
            name: "postgres",
            wall: Duration::ZERO,
            tally,
            failure: None,
        };
        assert_eq!(report.result(), "skipped: no server");
        report.failure = Some("it ended with 101\nand more".to_owned());
        assert_eq!(report.result(), "it ended with 101");
    }
}
