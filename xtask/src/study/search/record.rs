//! What a search did: its trials in order, as they are committed, and the hypervolume after each.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::Space;
use crate::bench::Machine;
use crate::files;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Trial {
    pub trial: u64,
    /// As the search has it: a level of each parameter.
    pub levels: Vec<u64>,
    pub configuration: String,
    /// In the adapter's file, without the head.
    pub values: f64,
    /// On the rows that choose between trials; none of a trial that failed or diverged.
    pub accuracy: Option<f64>,
    /// Another search had run it.
    pub known: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    pub proposer: String,
    pub seed: u64,
    /// What identifies the search beside proposer and seed.
    pub settings: Value,
    /// Worst number of values and worst accuracy that count.
    pub reference: (f64, f64),
    pub trials: Vec<Trial>,
    /// As the program gives it, of all trials.
    pub hypervolume: f64,
    /// User and system time of the search; none where it was gone on with.
    pub processor_s: Option<f64>,
    pub contended: bool,
    pub machine: Option<Machine>,
}

impl Record {
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_str(&files::read(path)?)
            .with_context(|| format!("{} is not the record of a search", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("cannot write a record")?;
        text.push('\n');
        files::write_atomic(path, text.as_bytes())
    }

    /// Hypervolume after each trial, values on a logarithmic scale.
    pub fn volumes(&self) -> Vec<f64> {
        let mut points = Vec::new();
        let reference = (self.reference.0.log10(), self.reference.1);
        self.trials
            .iter()
            .map(|trial| {
                points.extend(
                    trial
                        .accuracy
                        .map(|accuracy| (trial.values.log10(), accuracy)),
                );
                hypervolume(&points, reference)
            })
            .collect()
    }

    /// The trial of the best accuracy with at most so many values; of equals the smaller, then the earlier.
    pub fn best(&self, most: f64) -> Option<&Trial> {
        let fit = self.trials.iter().filter(|trial| trial.values <= most);
        fit.fold(None::<&Trial>, |best, next| {
            let key = |trial: &Trial| (trial.accuracy.unwrap_or(f64::NEG_INFINITY), -trial.values);
            match best {
                Some(best) if key(next) <= key(best) => Some(best),
                _ if next.accuracy.is_none() => best,
                _ => Some(next),
            }
        })
    }
}

/// Area between points and a reference, where little of the first and much of the second is wanted.
pub fn hypervolume(points: &[(f64, f64)], reference: (f64, f64)) -> f64 {
    let mut sorted: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|point| point.0 < reference.0)
        .collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let (mut best, mut area) = (reference.1, 0.0);
    for (cost, score) in sorted {
        if score > best {
            area += (reference.0 - cost) * (score - best);
            best = score;
        }
    }
    area
}

/// The trials that have ended, and the reference, by a search's description and journal; `ran` says whether a trial has a folder.
pub fn trials(
    description: &Value,
    journal: &str,
    ran: impl Fn(u64) -> bool,
) -> Result<((f64, f64), Vec<Trial>)> {
    let space = Space::of(description)?;
    let bound = |place: usize| {
        description["reference"][place]
            .as_f64()
            .context("the description of the search has no reference")
    };
    let reference = (bound(0)?, bound(1)?);
    let (mut asked, mut ended): (Vec<Trial>, Vec<Trial>) = (Vec::new(), Vec::new());
    for (line, text) in journal.lines().enumerate() {
        let line = line + 1;
        let entry: Value = serde_json::from_str(text)
            .with_context(|| format!("line {line} of the journal is not JSON"))?;
        let event = &entry["search"];
        let trial = event["trial"].as_u64();
        match (event["event"].as_str(), trial) {
            (Some("asked"), Some(trial)) => {
                let levels = event["configuration"].as_array();
                let levels = levels.map(|all| all.iter().filter_map(Value::as_u64).collect());
                let levels: Vec<u64> = levels
                    .with_context(|| format!("line {line} of the journal has no configuration"))?;
                let values = event["known"][0].as_f64();
                asked.push(Trial {
                    trial,
                    configuration: space.words(&levels),
                    levels,
                    values: values
                        .with_context(|| format!("line {line} of the journal has no values"))?,
                    accuracy: None,
                    known: !ran(trial),
                });
            }
            (Some("told"), Some(trial)) => {
                let found = asked.iter().find(|one| one.trial == trial);
                let found = found.with_context(|| format!("line {line}: trial {trial} is new"))?;
                let accuracy = event["outcome"]["measured"][0].as_f64();
                ended.push(Trial {
                    accuracy: accuracy.filter(|_| event["outcome"]["outcome"] == "complete"),
                    ..found.clone()
                });
            }
            _ => {}
        }
    }
    ended.sort_by_key(|trial| trial.trial);
    ensure!(
        ended.windows(2).all(|two| two[0].trial != two[1].trial),
        "a trial of the journal has ended twice"
    );
    Ok((reference, ended))
}

#[cfg(test)]
pub mod tests {
    use super::super::words::DESCRIPTION;
    use super::*;

    const JOURNAL: &str = r#"{"at":1,"search":{"event":"enqueued","configuration":[0,1,1,1]}}
{"at":1,"search":{"event":"asked","trial":0,"configuration":[0,1,1,1],"origin":"enqueued","known":[1000.0]}}
{"at":1,"lease":{"trial":0,"worker":"w","token":0}}
{"at":2,"search":{"event":"reported","trial":0,"resource":1,"measured":[0.7]}}
{"at":2,"search":{"event":"told","trial":0,"outcome":{"outcome":"complete","measured":[0.75]}}}
{"at":3,"search":{"event":"asked","trial":1,"configuration":[1,0,0,1],"origin":"random","known":[10.0]}}
{"at":4,"search":{"event":"told","trial":1,"outcome":{"outcome":"complete","measured":[0.6]}}}
{"at":5,"search":{"event":"asked","trial":2,"configuration":[1,0,1,1],"origin":"random","known":[20.0]}}
{"at":6,"search":{"event":"told","trial":2,"outcome":{"outcome":"diverged","reason":"nan"}}}
{"at":7,"search":{"event":"asked","trial":3,"configuration":[1,0,1,0],"origin":"random","known":[10.0]}}"#;

    pub fn record() -> Record {
        let description = serde_json::from_str(DESCRIPTION).unwrap();
        let (reference, trials) = trials(&description, JOURNAL, |trial| trial > 0).unwrap();
        Record {
            proposer: "bayes".into(),
            seed: 0,
            settings: Value::Null,
            reference,
            trials,
            hypervolume: 0.0,
            processor_s: None,
            contended: false,
            machine: None,
        }
    }

    #[test]
    fn a_journal_becomes_trials_and_volumes() {
        let record = record();
        assert_eq!(record.trials.len(), 3);
        assert_eq!(record.trials[0].configuration, "lora, size 1, layers 0 1");
        assert!(record.trials[0].known && !record.trials[1].known);
        assert_eq!(record.trials[2].accuracy, None);
        // Decades times accuracy: 1 × 0.25, then 3 × 0.1 and 1 × 0.15 beyond it.
        let volumes = record.volumes();
        for (found, expected) in volumes.iter().zip([0.25, 0.45, 0.45]) {
            assert!((found - expected).abs() < 1e-12, "{volumes:?}");
        }
        assert_eq!(record.best(1e9).unwrap().trial, 0);
        assert_eq!(record.best(999.0).unwrap().trial, 1);
        assert_eq!(record.best(5.0), None);
    }

    #[test]
    fn area_forgets_what_is_dominated_or_worse_than_the_reference() {
        let front = [(1.0, 0.6), (2.0, 0.8)];
        let area = hypervolume(&front, (3.0, 0.5));
        assert!((area - 0.4).abs() < 1e-12, "{area}");
        let more = [(2.0, 0.8), (1.0, 0.6), (2.5, 0.7), (4.0, 0.9), (1.0, 0.4)];
        assert_eq!(hypervolume(&more, (3.0, 0.5)), area);
        assert_eq!(hypervolume(&[], (3.0, 0.5)), 0.0);
    }
}
