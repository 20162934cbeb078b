//! `cargo xtask study NAME`: comparisons that can be repeated, and their reports.

mod causal;
mod definition;
#[cfg(test)]
mod definition_tests;
mod import;
mod metrics;
mod ours;
mod outcome;
mod plots;
mod readme;
mod rows;
mod runner;
#[cfg(test)]
mod runner_tests;
mod sample;
mod search;
mod selectors;
mod settings;
mod statistics;
mod summary;
mod verdict;
mod widen;

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::definition::{Engine, Study};
use self::runner::{Progress, Tools, progress};
use crate::{fetch, files, python, workspace};

pub use self::causal::RowLosses;
pub use self::ours::version;
pub use self::sample::first_rows;
pub use self::statistics::{Random, mean, median, quantile};

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder under docs/studies
    name: String,
    /// Print the runs that are to do and the commands, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the report from the results that are there, without running anything
    #[arg(long)]
    report_only: bool,
    /// Only this arm
    #[arg(long, value_name = "ARM")]
    only: Option<String>,
    /// Stop after so many runs
    #[arg(long, value_name = "N")]
    max_runs: Option<usize>,
    /// Python of the reference environment
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The `peft` binary, instead of building it (also PEFT_BIN)
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Folder that holds the model's and the data's folders, instead of the cache
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for logs and adapters, instead of `studies` in the cache
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Take over a finished run: a folder with result.json, of this arm and seed
    #[arg(long, value_name = "ARM=SEED=DIR")]
    import: Vec<import::Import>,
    /// Other work shares the machine: mark the times as unusable
    #[arg(long)]
    contended: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let docs = workspace::root().join("docs/studies").join(&arguments.name);
    if arguments.name == selectors::NAME {
        return selectors::run(&docs, arguments.report_only);
    }
    let path = docs.join("study.toml");
    let text = files::read(&path)?;
    if search::is_one(&text) {
        return search::run(arguments, &text, docs)
            .with_context(|| format!("the study {}", path.display()));
    }
    if causal::is_one(&text) {
        return causal::run(arguments, &text, docs)
            .with_context(|| format!("the study {}", path.display()));
    }
    let study = Study::parse(&text).with_context(|| format!("in {}", path.display()))?;
    ensure!(
        study.name == arguments.name,
        "study.toml names itself {:?}",
        study.name
    );
    if let Some(only) = &arguments.only {
        let names: Vec<&str> = study.arms.iter().map(|arm| arm.name.as_str()).collect();
        ensure!(
            names.contains(&only.as_str()),
            "no arm {only:?}; there are {}",
            names.join(", ")
        );
    }
    let tools = tools(arguments, &study, docs)?;
    for import in &arguments.import {
        import.carry_out(&study, &tools)?;
    }
    if arguments.dry_run {
        return list(&study, arguments, &tools);
    }
    if !arguments.report_only {
        execute(
            &study,
            arguments.only.as_deref(),
            arguments.max_runs,
            &tools,
        )?;
    }
    readme::write(&study, &all_progress(&study, &tools)?, &tools.docs)?;
    println!("{}", tools.docs.join("README.md").display());
    Ok(())
}

/// The binary that is given, or one that is built if it is wanted.
fn peft(arguments: &Arguments, wanted: bool) -> Result<PathBuf> {
    let given = arguments.peft.clone();
    match given.or_else(|| env::var_os("PEFT_BIN").map(PathBuf::from)) {
        Some(path) => Ok(path),
        None if wanted => workspace::build("peft", true),
        None => Ok(PathBuf::from("peft")),
    }
}

/// Builds and fetches only what the runs will need.
fn tools(arguments: &Arguments, study: &Study, docs: PathBuf) -> Result<Tools> {
    let idle = arguments.dry_run || arguments.report_only;
    let wanted = |engine| {
        let only = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
        !idle
            && study
                .arms
                .iter()
                .any(|arm| arm.engine == engine && only(&arm.name))
    };
    let peft = peft(arguments, wanted(Engine::Peft))?;
    let python = match python::interpreter(arguments.python.as_ref()) {
        Err(error) if wanted(Engine::HfPeft) => return Err(error),
        found => found.unwrap_or_else(|_| PathBuf::from("python3")),
    };
    let data = match (&arguments.data, idle) {
        (Some(path), _) => path.clone(),
        (None, false) => fetch::of_folders(|folder| {
            [&study.model, &study.data].iter().any(|one| *one == folder)
        })?,
        (None, true) => workspace::cache()?,
    };
    let work = match &arguments.work {
        Some(path) => path.clone(),
        None => workspace::cache()?.join("studies"),
    };
    let work = work.join(&study.name);
    Ok(Tools {
        peft,
        python,
        data,
        work,
        docs,
        contended: arguments.contended,
    })
}

fn all_progress<'a>(study: &'a Study, tools: &Tools) -> Result<Vec<Progress<'a>>> {
    study
        .arms
        .iter()
        .map(|arm| progress(study, arm, tools))
        .collect()
}

/// Carries out what is open, arm by arm, at most `max_runs`; returns how many runs that were.
fn execute(
    study: &Study,
    only: Option<&str>,
    max_runs: Option<usize>,
    tools: &Tools,
) -> Result<usize> {
    let mut count = 0;
    for arm in study
        .arms
        .iter()
        .filter(|arm| only.is_none_or(|only| only == arm.name))
    {
        loop {
            // Each finished run may decide what is open next: a sweep that ends chooses the rate.
            let progress = progress(study, arm, tools)?;
            let Some(run) = progress.open.first() else {
                break;
            };
            if max_runs.is_some_and(|most| count >= most) {
                return Ok(count);
            }
            eprintln!("{}: running", run.folder());
            // The report split plays no part in the choice of the rate, and is read after it.
            let outcome = tools.execute(run, progress.rate.is_some())?;
            count += 1;
            let report = outcome.report.as_ref().map_or_else(String::new, |report| {
                format!(
                    "report {:.4} (last), {:.4} (kept), ",
                    report.report_accuracy_last, report.report_accuracy_kept
                )
            });
            eprintln!(
                "{}: selection {:.4}, {report}{:.1} ms a step",
                run.folder(),
                outcome.selection_accuracy(),
                outcome.step_time_s * 1e3
            );
        }
    }
    Ok(count)
}

fn list(study: &Study, arguments: &Arguments, tools: &Tools) -> Result<()> {
    for progress in all_progress(study, tools)? {
        if arguments
            .only
            .as_deref()
            .is_some_and(|only| only != progress.arm.name)
        {
            continue;
        }
        match progress.rate {
            Some(rate) => println!(
                "{}: rate {rate:e}, {} of {} seeds done",
                progress.arm.name,
                progress.outcomes.len(),
                study.seeds.len()
            ),
            None => println!(
                "{}: {} runs of the sweep to do, then {} seeds at the rate that selection chooses",
                progress.arm.name,
                progress.open.len(),
                study.seeds.len() - 1
            ),
        }
        for run in &progress.open {
            println!("  {}", tools.describe(run)?);
        }
    }
    Ok(())
}
