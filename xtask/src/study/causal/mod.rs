//! Studies of language models: perplexities of adapters on SmolLM2, on its first blocks, or on a
//! model that was pretrained here.

mod batches;
mod definition;
mod judge;
mod material;
mod outcome;
mod report;
mod rows;
mod run;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use self::definition::{Arm, Study};
use self::outcome::Outcome;
pub use self::outcome::RowLosses;
use self::run::{Run, Tools};
use super::Arguments;
use crate::{files, python, workspace};

/// Whether a `study.toml` is of a language model.
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

/// Where an arm stands.
pub struct Standing<'a> {
    pub arm: &'a Arm,
    /// The rate that selection chose; `None` until every rate has run on the first seed.
    pub rate: Option<f64>,
    /// What is finished of the first seed.
    pub swept: Vec<Outcome>,
    /// Finished and measured runs at that rate, in the order of the study's seeds.
    pub outcomes: Vec<Outcome>,
    /// Runs that can be carried out now, the next one first.
    open: Vec<Run<'a>>,
}

impl Standing<'_> {
    fn done(&self) -> usize {
        self.swept.len() + self.outcomes.len()
    }
}

pub fn run(arguments: &Arguments, text: &str, docs: PathBuf) -> Result<()> {
    let study = Study::parse(text)?;
    ensure!(
        study.name == arguments.name,
        "study.toml names itself {:?}",
        study.name
    );
    ensure!(
        arguments.import.is_empty(),
        "--import: studies of language models run all their arms themselves"
    );
    if let Some(only) = &arguments.only {
        study
            .arm(only)
            .with_context(|| format!("no arm {only:?} in this study"))?;
    }
    let tools = tools(arguments, &study, docs)?;
    if arguments.dry_run {
        for run in open(&study, arguments, &tools)? {
            println!("{}: {}", run.folder(), run.arguments(&tools)?.join(" "));
        }
        return Ok(());
    }
    if !arguments.report_only {
        execute(&study, arguments, &tools)?;
    }
    let standings = standings(&study, &tools)?;
    let unadapted = unadapted(&tools, arguments.report_only)?;
    report::write(&study, &standings, unadapted.as_ref(), &tools.docs)?;
    println!("{}", tools.docs.join("README.md").display());
    Ok(())
}

fn tools(arguments: &Arguments, study: &Study, docs: PathBuf) -> Result<Tools> {
    let idle = arguments.dry_run || arguments.report_only;
    let peft = super::peft(arguments, !idle)?;
    let python = match python::interpreter(arguments.python.as_ref()) {
        Err(error) if study.is_against_reference() && !idle => return Err(error),
        found => found.unwrap_or_else(|_| PathBuf::from("python3")),
    };
    let cache = match &arguments.data {
        Some(path) => path.clone(),
        None => workspace::cache()?,
    };
    let work = match &arguments.work {
        Some(path) => path.clone(),
        None => workspace::cache()?.join("studies"),
    };
    let work = work.join(&study.name);
    Ok(Tools {
        peft,
        python,
        model: study.model_folder(&cache, !idle)?,
        model_name: study.model_name()?,
        rows: rows::write(study.data, &work, &cache)?,
        work,
        docs,
        contended: arguments.contended,
    })
}

/// The result of a run, if it was committed and is of these settings.
fn finished(run: &Run, tools: &Tools) -> Result<Option<Outcome>> {
    let path = committed(run, tools);
    if !path.is_file() {
        return Ok(None);
    }
    let outcome = Outcome::read(&path)?;
    if outcome.settings != run.settings(tools)? {
        eprintln!("{} does not count: it is of other settings", path.display());
        return Ok(None);
    }
    Ok(Some(outcome))
}

fn committed(run: &Run, tools: &Tools) -> PathBuf {
    tools
        .docs
        .join("runs")
        .join(run.folder())
        .join("result.json")
}

/// Looks at what is finished. The rate is chosen by the selection rows alone; of equals, the earlier listed.
fn standing<'a>(study: &'a Study, arm: &'a Arm, tools: &Tools) -> Result<Standing<'a>> {
    let run = |learning_rate, seed| Run {
        study,
        arm,
        learning_rate,
        seed,
    };
    let rates = study.rates_of(arm);
    let (mut open, mut swept) = (Vec::new(), Vec::new());
    for &rate in &rates {
        let run = run(rate, study.seeds[0]);
        match finished(&run, tools)? {
            Some(outcome) => swept.push(outcome),
            // The default first: it says most while the others are not there yet.
            None if rate == arm.learning_rate => open.insert(0, run),
            None => open.push(run),
        }
    }
    let rate = match (open.is_empty(), rates.as_slice()) {
        (_, [only]) => Some(*only),
        (true, _) => best(&swept),
        (false, _) => None,
    };
    let mut outcomes = Vec::new();
    if let Some(rate) = rate {
        open.clear();
        for &seed in &study.seeds {
            match finished(&run(rate, seed), tools)? {
                Some(outcome) if outcome.report.is_some() => outcomes.push(outcome),
                _ => open.push(run(rate, seed)),
            }
        }
    }
    Ok(Standing {
        arm,
        rate,
        swept,
        outcomes,
        open,
    })
}

/// The rate of the lowest selection loss; the first of equals.
fn best(swept: &[Outcome]) -> Option<f64> {
    let loss = |run: &Outcome| run.selection_loss.unwrap_or(f64::INFINITY);
    let lower = |best: &Outcome, next: &Outcome| loss(next) < loss(best);
    let mut runs = swept.iter();
    let first = runs.next()?;
    let best = runs.fold(
        first,
        |best, next| if lower(best, next) { next } else { best },
    );
    Some(best.learning_rate)
}

fn standings<'a>(study: &'a Study, tools: &Tools) -> Result<Vec<Standing<'a>>> {
    let standing = |arm| standing(study, arm, tools);
    study.arms.iter().map(standing).collect()
}

/// What is to do now, the arm that has least first, so that arms go forward together.
fn open<'a>(study: &'a Study, arguments: &Arguments, tools: &Tools) -> Result<Vec<Run<'a>>> {
    let mut standings = standings(study, tools)?;
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    standings.retain(|standing| wanted(&standing.arm.name));
    standings.sort_by_key(Standing::done);
    Ok(standings
        .into_iter()
        .flat_map(|standing| standing.open)
        .collect())
}

fn execute(study: &Study, arguments: &Arguments, tools: &Tools) -> Result<()> {
    let mut count = 0;
    loop {
        // Each finished run may decide what is open next: a sweep that ends chooses the rate.
        let Some(run) = open(study, arguments, tools)?.into_iter().next() else {
            return Ok(());
        };
        if arguments.max_runs.is_some_and(|most| count >= most) {
            return Ok(());
        }
        eprintln!("{}: running", run.folder());
        let chosen = standing(study, run.arm, tools)?.rate.is_some();
        // The report rows play no part in the choice of the rate, and are read after it.
        let outcome = run.execute(tools, chosen)?;
        outcome.write(&committed(&run, tools))?;
        count += 1;
        let report = outcome.report.as_ref().map_or_else(String::new, |report| {
            format!(", report perplexity {:.3}", report.perplexity())
        });
        let selection = outcome
            .selection_loss
            .map_or_else(String::new, |loss| format!(", selection loss {loss:.4}"));
        eprintln!("{}: done{selection}{report}", run.folder());
    }
}

/// The report rows by the model as it is, and of which model and rows that is.
#[derive(Deserialize, Serialize)]
struct Unadapted {
    #[serde(flatten)]
    losses: RowLosses,
    /// Model, and sha256 of the rows; the first studies did not say.
    #[serde(default)]
    of: Option<[String; 2]>,
}

/// The report rows by the model as it is; measured once.
fn unadapted(tools: &Tools, report_only: bool) -> Result<Option<RowLosses>> {
    let path: &Path = &tools.docs.join("runs/unadapted.json");
    let of = [tools.model_name.clone(), tools.rows.sha256.clone()];
    if path.is_file() {
        let kept: Unadapted = serde_json::from_str(&files::read(path)?)?;
        if report_only || kept.of.is_none_or(|kept| kept == of) {
            return Ok(Some(kept.losses));
        }
        eprintln!(
            "{} does not count: it is of another model or other rows",
            path.display()
        );
    }
    if report_only {
        return Ok(None);
    }
    let found = Unadapted {
        losses: run::measure(tools, None)?,
        of: Some(of),
    };
    files::write_atomic(path, (serde_json::to_string(&found)? + "\n").as_bytes())?;
    Ok(Some(found.losses))
}
