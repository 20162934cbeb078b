//! One search: begun, worked on to its end, recorded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::definition::{Proposer, Study};
use super::record::{Record, trials};
use crate::bench::Machine;
use crate::study::definition::Protocol;
use crate::study::sample::first_rows;
use crate::{files, process};

/// Programs and folders a study runs with.
pub struct Tools {
    pub peft: PathBuf,
    /// Holds the folders of model and data.
    pub data: PathBuf,
    /// Searches, trials and adapters, outside the repository.
    pub work: PathBuf,
    /// `docs/studies/NAME`, where results are committed.
    pub docs: PathBuf,
    /// Other work shares the machine.
    pub contended: bool,
}

/// A proposer with a seed.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    pub proposer: &'a Proposer,
    pub seed: u64,
}

/// Says that a search was begun as it should be, for what is cut off before that must begin anew.
const BEGUN: &str = "begun";

impl Search<'_> {
    pub fn name(&self) -> String {
        format!("{}-s{}", self.proposer.name, self.seed)
    }

    /// What a record must have been made with.
    fn settings(&self, study: &Study) -> Result<Value> {
        Ok(json!({
            "model": study.model,
            "data": study.data,
            "search": study.search,
            "proposer": self.proposer.settings,
        }))
    }

    fn committed(&self, tools: &Tools) -> PathBuf {
        tools.docs.join("searches").join(self.name() + ".json")
    }

    /// The folder of its description and journal; trials are beside it, so that nothing is scored at its end.
    fn folder(&self, tools: &Tools) -> PathBuf {
        tools.work.join("searches").join(self.name())
    }

    fn trials(&self, tools: &Tools) -> PathBuf {
        tools.work.join("searches").join(self.name() + "-trials")
    }

    /// Where a trial of it has written its settings, if it was run by it.
    pub fn trial_settings(&self, tools: &Tools, trial: u64) -> PathBuf {
        let folder = format!("trials/{trial:06}");
        self.trials(tools).join(folder).join("run.toml")
    }

    /// The record of the search, if it is at its end and of these settings.
    pub fn finished(&self, study: &Study, tools: &Tools) -> Result<Option<Record>> {
        let path = self.committed(tools);
        if !path.is_file() {
            return Ok(None);
        }
        let record = Record::read(&path)?;
        if record.settings != self.settings(study)? {
            eprintln!("{} does not count: it is of other settings", path.display());
            return Ok(None);
        }
        // A prolonged search goes on from there.
        Ok((record.trials.len() >= study.search.trials).then_some(record))
    }

    /// Trials that have ended so far.
    pub fn done(&self, tools: &Tools) -> usize {
        self.look(tools).map_or(0, |(_, trials)| trials.len())
    }

    fn look(&self, tools: &Tools) -> Result<((f64, f64), Vec<super::record::Trial>)> {
        let folder = self.folder(tools);
        let description = read_json(&folder.join("study.json"))?;
        let journal = files::read(&folder.join("journal.jsonl"))?;
        let ran = |trial| self.trial_settings(tools, trial).is_file();
        trials(&description, &journal, ran).with_context(|| format!("in {}", folder.display()))
    }

    /// Searches to the end and commits the record.
    pub fn execute(&self, study: &Study, tools: &Tools) -> Result<Record> {
        let (folder, machine) = (self.folder(tools), Machine::look());
        let marker = tools
            .work
            .join("searches")
            .join(format!("{}.{BEGUN}", self.name()));
        let settings = self.settings(study)?;
        let is_begun = marker.is_file() && read_json(&marker)? == settings;
        if !is_begun {
            self.begin(study, tools)?;
            files::write_atomic(&marker, settings.to_string().as_bytes())?;
        }
        let log = tools.work.join("searches").join(self.name() + ".log");
        let mut work = Command::new(&tools.peft);
        work.args(["search", "worker", "--offline", "--log-format", "plain"]);
        work.args(["--threads", &study.search.threads.to_string()]);
        for (flag, path) in [
            ("--study", folder.clone()),
            ("--output", self.trials(tools)),
            ("--trial-cache", tools.work.join("trials")),
        ] {
            work.arg(flag).arg(path);
        }
        let before = process::children_time()?;
        process::run_measured(&mut work, &log)?;
        let processor = process::children_time()?.saturating_sub(before);
        let (reference, trials) = self.look(tools)?;
        ensure!(
            trials.len() == study.search.trials,
            "{} ended with {} trials, not {}: see {}",
            self.name(),
            trials.len(),
            study.search.trials,
            log.display()
        );
        let record = Record {
            proposer: self.proposer.name.clone(),
            seed: self.seed,
            settings,
            reference,
            trials,
            hypervolume: hypervolume(tools, &folder)?,
            processor_s: (!is_begun).then_some(processor.as_secs_f64()),
            contended: tools.contended,
            machine: Some(machine),
        };
        let own = record.volumes().last().copied().unwrap_or(0.0);
        ensure!(
            (own - record.hypervolume).abs() < 1e-9,
            "{}: the trials have the hypervolume {own}, the program says {}",
            self.name(),
            record.hypervolume
        );
        record.write(&self.committed(tools))?;
        Ok(record)
    }

    /// Describes the search without trying anything, and gives its sampler the study's settings, for which there are no flags.
    fn begin(&self, study: &Study, tools: &Tools) -> Result<()> {
        let (folder, search) = (self.folder(tools), &study.search);
        files::remove_folder(&folder)?;
        files::remove_folder(&self.trials(tools))?;
        let data = tools.data.join(&study.data);
        let fit = tools.work.join(format!("fit-{}.csv", search.rows));
        // Searches that are at work read it, too.
        if !fit.is_file() {
            first_rows(&data.join(Protocol::Small.fit()), search.rows, &fit)?;
        }
        let mut begin = Command::new(&tools.peft);
        begin.args(["search", "--offline", "--task", "classify", "--trials", "0"]);
        for (flag, path) in [
            ("--model", tools.data.join(&study.model)),
            ("--data", fit),
            ("--select-data", data.join(Protocol::Full.select())),
            ("--output", folder.clone()),
        ] {
            begin.arg(flag).arg(path);
        }
        for (flag, value) in [
            ("--methods", search.methods.join(",")),
            ("--sampler", self.proposer.name.clone()),
            ("--search-seed", self.seed.to_string()),
            ("--epochs", search.epochs.to_string()),
            ("--batch-size", search.batch_size.to_string()),
            ("--max-length", search.max_length.to_string()),
            // Dropout would make hidden states anew in every pass.
            ("--model-dropout", "0".to_owned()),
            ("--threads", search.threads.to_string()),
        ] {
            begin.arg(flag).arg(value);
        }
        let log = tools.work.join("searches").join(self.name() + "-begin.log");
        process::run_measured(&mut begin, &log)?;
        let path = folder.join("study.json");
        let description = described(read_json(&path)?, self.proposer, search.trials)
            .with_context(|| format!("in {}", path.display()))?;
        let text = serde_json::to_string_pretty(&description)?;
        files::write_atomic(&path, text.as_bytes())
    }
}

/// A description with the settings of its sampler and its number of trials.
fn described(mut description: Value, proposer: &Proposer, trials: usize) -> Result<Value> {
    description["budget"] = json!({ "trials": trials });
    let settings = description["settings"].as_object_mut();
    let settings = settings.context("the description has no settings of a sampler")?;
    for (name, value) in &proposer.settings {
        let known = settings.get_mut(name);
        let known =
            known.with_context(|| format!("sampler {} has no setting {name}", proposer.name))?;
        *known = (*value).into();
    }
    Ok(description)
}

/// The hypervolume as the program gives it.
fn hypervolume(tools: &Tools, folder: &Path) -> Result<f64> {
    let output = Command::new(&tools.peft)
        .args(["search", "status", "--json"])
        .arg(folder)
        .output()
        .context("cannot run peft search status")?;
    let status: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("peft search status of {} told no JSON", folder.display()))?;
    let volume = status["hypervolume"].as_f64();
    volume.context("peft search status told no hypervolume")
}

fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&files::read(path)?)
        .with_context(|| format!("{} is not JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_settings_that_a_sampler_has_are_given_to_it() {
        let description =
            json!({"settings": {"sampler": "nsga2", "population": 50}, "budget": {"trials": 0}});
        let proposer = |name: &str| Proposer {
            name: "nsga2".into(),
            settings: BTreeMap::from([(name.to_owned(), 8)]),
        };
        let changed = described(description.clone(), &proposer("population"), 24).unwrap();
        assert_eq!(changed["settings"]["population"], 8);
        assert_eq!(changed["settings"]["sampler"], "nsga2");
        assert_eq!(changed["budget"]["trials"], 24);
        let error = described(description, &proposer("initial"), 24).unwrap_err();
        assert!(error.to_string().contains("no setting initial"), "{error}");
    }
}
