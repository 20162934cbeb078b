//! Studies of the search: proposers against each other at equal cost, and what they find against default LoRA.
//!
//! Three stages, each of which goes on where it was left: the searches of the first proposer, runs of what they found on held-out
//! rows of the data and of a second task, and the searches of the other proposers.

mod definition;
mod finals;
mod front;
mod plots;
mod record;
mod report;
mod run;
mod student;
mod words;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use self::definition::Study;
use self::finals::Finals;
use self::front::Found;
use self::run::{Search, Tools};
use super::Arguments;
use crate::{fetch, workspace};

/// Whether a `study.toml` is of searches.
pub fn is_one(text: &str) -> bool {
    let table: Option<toml::Table> = text.parse().ok();
    table.is_some_and(|table| {
        table.get("task").and_then(toml::Value::as_str) == Some(definition::TASK)
    })
}

/// The name of such a study, if it is one, or what is wrong with it.
#[cfg(test)]
pub fn name_of(text: &str) -> Option<Result<String>> {
    is_one(text).then(|| Ok(Study::parse(text)?.name))
}

pub fn run(arguments: &Arguments, text: &str, docs: PathBuf) -> Result<()> {
    let study = Study::parse(text)?;
    ensure!(
        study.name == arguments.name,
        "study.toml names itself {:?}",
        study.name
    );
    ensure!(
        arguments.import.is_empty() && arguments.only.is_none(),
        "--import and --only: a study of searches runs all its parts itself, in their order"
    );
    let tools = tools(arguments, &study, docs)?;
    if arguments.dry_run {
        for search in study.searches() {
            let state = match search.finished(&study, &tools)? {
                Some(_) => "done",
                None => "to do",
            };
            println!("{}: {state}", search.name());
        }
        return Ok(());
    }
    if !arguments.report_only {
        execute(&study, arguments, &tools)?;
    }
    report::write(&study, &tools)?;
    println!("{}", tools.docs.join("README.md").display());
    Ok(())
}

fn tools(arguments: &Arguments, study: &Study, docs: PathBuf) -> Result<Tools> {
    let idle = arguments.dry_run || arguments.report_only;
    let folders = [&study.model, &study.data, &study.transfer];
    let data = match (&arguments.data, idle) {
        (Some(path), _) => path.clone(),
        (None, false) => fetch::of_folders(|folder| folders.iter().any(|one| *one == folder))?,
        (None, true) => workspace::cache()?,
    };
    let work = match &arguments.work {
        Some(path) => path.clone(),
        None => workspace::cache()?.join("studies"),
    };
    Ok(Tools {
        peft: super::peft(arguments, !idle)?,
        data,
        work: work.join(&study.name),
        docs,
        contended: arguments.contended,
    })
}

/// Carries out what is open, at most `max_runs` searches and runs, and renews the report after each.
fn execute(study: &Study, arguments: &Arguments, tools: &Tools) -> Result<()> {
    let mut left = arguments.max_runs.unwrap_or(usize::MAX);
    let searches = study.searches();
    let (first, others): (Vec<Search>, Vec<Search>) = searches
        .into_iter()
        .partition(|search| search.proposer.name == study.proposers[0].name);
    if !searched(study, &first, &mut left, tools)? {
        return Ok(());
    }
    if let Some(found) = front::found(study, tools)? {
        // The runs on the first data decide at which rates those on the other go.
        while ran(study, &found, &mut left, tools)? {
            report::write(study, tools)?;
        }
    }
    searched(study, &others, &mut left, tools)?;
    Ok(())
}

/// Carries out the next run on held-out rows; whether there was one.
fn ran(study: &Study, found: &Found, left: &mut usize, tools: &Tools) -> Result<bool> {
    for finals in Finals::both(study, found, tools)? {
        if finals.next(left)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Carries out searches; whether all are at their end.
fn searched(study: &Study, searches: &[Search], left: &mut usize, tools: &Tools) -> Result<bool> {
    for search in searches {
        if search.finished(study, tools)?.is_some() {
            continue;
        }
        if *left == 0 {
            return Ok(false);
        }
        *left -= 1;
        eprintln!("{}: searching", search.name());
        let record = search.execute(study, tools)?;
        eprintln!(
            "{}: {} trials, hypervolume {:.5}",
            search.name(),
            record.trials.len(),
            record.volumes().last().copied().unwrap_or(0.0)
        );
        report::write(study, tools)?;
    }
    Ok(true)
}
