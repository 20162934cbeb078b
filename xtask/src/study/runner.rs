//! Which runs a study needs, which are there, and carrying out the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::definition::{Arm, Engine, Study};
use super::ours;
use super::outcome::Outcome;
use super::settings::Run;
use super::widen;
use crate::bench::Machine;
use crate::{process, python};

/// Programs and folders a study runs with.
pub struct Tools {
    pub peft: PathBuf,
    /// Interpreter of the reference environment.
    pub python: PathBuf,
    /// Holds the folders of model and data.
    pub data: PathBuf,
    /// Logs and adapters, outside the repository.
    pub work: PathBuf,
    /// `docs/studies/NAME`, where results are committed.
    pub docs: PathBuf,
    /// Other work shares the machine.
    pub contended: bool,
}

impl Tools {
    fn committed(&self, run: &Run) -> PathBuf {
        self.docs
            .join("runs")
            .join(run.folder())
            .join("result.json")
    }

    /// Where drawn samples of rows lie.
    pub fn samples(&self) -> PathBuf {
        self.work.join("samples")
    }

    /// The result of a run, if there is one: committed, or in the work folder (then it is committed now).
    /// One with a report goes before one without.
    pub fn finished(&self, run: &Run) -> Result<Option<Outcome>> {
        let committed = self.committed(run);
        let mut found: Option<(PathBuf, Outcome)> = None;
        for path in [
            committed.clone(),
            self.work.join(run.folder()).join("result.json"),
        ] {
            if !path.is_file() {
                continue;
            }
            match Outcome::read(&path).and_then(|found| found.check_is_of(run).map(|()| found)) {
                Ok(outcome) => {
                    let unread = |(_, known): &(PathBuf, Outcome)| known.report.is_none();
                    if found.is_none()
                        || (outcome.report.is_some() && found.as_ref().is_some_and(unread))
                    {
                        found = Some((path, outcome));
                    }
                }
                Err(error) => eprintln!("{} does not count: {error:#}", path.display()),
            }
        }
        let Some((path, outcome)) = found else {
            return Ok(None);
        };
        let mut outcome = outcome.without_paths();
        // The reference script names its arms after method and rank.
        outcome.arm.clone_from(&run.arm.name);
        if path != committed {
            outcome.write(&committed)?;
        }
        Ok(Some(outcome))
    }

    /// The folder of the run's model.
    pub fn model(&self, run: &Run) -> PathBuf {
        widen::folder(&self.data, &run.study.model, run.arm.widen)
    }

    /// The command line of a run's training, for reading.
    pub fn describe(&self, run: &Run) -> Result<String> {
        let folder = self.work.join(run.folder());
        let (program, arguments) = match run.arm.engine {
            Engine::Peft => (
                &self.peft,
                ours::train_arguments(run, self, &folder.join("adapter"))?,
            ),
            Engine::HfPeft => (&self.python, self.reference_arguments(run, &folder)?),
        };
        Ok(format!("{} {}", program.display(), arguments.join(" ")))
    }

    fn reference_arguments(&self, run: &Run, folder: &Path) -> Result<Vec<String>> {
        let (data, protocol) = (self.data.join(&run.study.data), run.study.protocol);
        let mut arguments = Vec::new();
        for (flag, path) in [
            ("", python::scripts().join("hf_baseline.py")),
            ("--model", self.model(run)),
            ("--fit", data.join(run.fit())),
            ("--select", data.join(protocol.select())),
            ("--report", data.join(protocol.report())),
            ("--out", folder.to_path_buf()),
        ] {
            arguments.extend((!flag.is_empty()).then(|| flag.to_owned()));
            arguments.push(path.to_string_lossy().into_owned());
        }
        arguments.extend(["--arm".to_owned(), run.arm.name.clone()]);
        arguments.extend(run.arguments()?);
        arguments.extend(self.contended.then(|| "--contended".to_owned()));
        Ok(arguments)
    }

    /// Carries out a run and commits its result; with `report`, the report split is read, too.
    pub fn execute(&self, run: &Run, report: bool) -> Result<Outcome> {
        widen::ensure(&self.data, &run.study.model, run.arm.widen)?;
        let folder = self.work.join(run.folder());
        let result = folder.join("result.json");
        let machine = Machine::look();
        // Of a run that was trained before and is only scored now, the machine that trained it counts, if it is known.
        let trained = Outcome::read(&result).is_ok_and(|one| one.check_is_of(run).is_ok());
        match run.arm.engine {
            Engine::Peft => ours::execute(run, self, &folder, report)?.write(&result)?,
            Engine::HfPeft => {
                let mut command = Command::new(&self.python);
                command.args(self.reference_arguments(run, &folder)?);
                process::run_measured(&mut command, &folder.join("train.log"))?;
            }
        }
        let mut outcome = Outcome::read(&result)?;
        outcome
            .check_is_of(run)
            .with_context(|| format!("{} is not of this run", result.display()))?;
        if !trained {
            outcome.machine.get_or_insert(machine);
        }
        outcome.write(&result)?;
        self.finished(run)?
            .with_context(|| format!("{} did not count", result.display()))
    }
}

/// Where an arm stands.
pub struct Progress<'a> {
    pub arm: &'a Arm,
    /// The rate that selection chose; `None` until every rate has run on the first seed.
    pub rate: Option<f64>,
    /// What is finished of the first seed, by rate.
    pub swept: Vec<(f64, Outcome)>,
    /// Finished runs at that rate, in the order of the study's seeds.
    pub outcomes: Vec<Outcome>,
    /// Runs that can be carried out now.
    pub open: Vec<Run<'a>>,
}

/// Looks at what is finished. The rate is chosen by the selection split alone; of equals, the earlier listed.
pub fn progress<'a>(study: &'a Study, arm: &'a Arm, tools: &Tools) -> Result<Progress<'a>> {
    let run = |learning_rate, seed| Run {
        study,
        arm,
        learning_rate,
        seed,
    };
    let (mut open, mut swept, mut best) = (Vec::new(), Vec::new(), None);
    let rates = study.rates_of(arm);
    for &rate in &rates {
        let run = run(rate, study.seeds[0]);
        // Nothing is to be chosen among one.
        let score = match tools.finished(&run)? {
            Some(outcome) => {
                let accuracy = outcome.selection_accuracy();
                swept.push((rate, outcome));
                accuracy
            }
            None => {
                open.push(run);
                f64::NEG_INFINITY
            }
        };
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((rate, score));
        }
    }
    let rate = best
        .map(|(rate, _)| rate)
        .filter(|_| open.is_empty() || rates.len() == 1);
    let mut outcomes = Vec::new();
    if let Some(rate) = rate {
        open.clear();
        for &seed in &study.seeds {
            match tools.finished(&run(rate, seed))? {
                Some(outcome) if outcome.report.is_some() => outcomes.push(outcome),
                _ => open.push(run(rate, seed)),
            }
        }
    }
    Ok(Progress {
        arm,
        rate,
        swept,
        outcomes,
        open,
    })
}
