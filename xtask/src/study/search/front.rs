//! What searches have found: the front of all, and the configuration that goes to the held-out rows.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::definition::Study;
use super::record::{Record, Trial};
use super::run::{Search, Tools};
use crate::files;

/// The configuration that is taken to the held-out rows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Found {
    /// The search that found it.
    pub search: String,
    pub trial: Trial,
    pub method: String,
    pub learning_rate: f64,
    /// What else a run of it sets, as a configuration file.
    pub settings: String,
}

impl Found {
    /// Name of its configuration file, which changes with what is in it.
    pub fn file(&self) -> String {
        let digest = Sha256::digest(self.settings.as_bytes());
        let digest: String = digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("found-{digest}.toml")
    }
}

/// The best trial of the first proposer's searches with at most the share of values that is asked for; of equals the smaller, then
/// that of the earlier seed. `None` while one of the searches is not at its end.
pub fn chosen<'a>(study: &'a Study, tools: &Tools) -> Result<Option<(Search<'a>, Trial)>> {
    let mut best: Option<(Search, Trial)> = None;
    let searches = study.searches();
    let first = searches
        .into_iter()
        .filter(|search| search.proposer.name == study.proposers[0].name);
    for search in first {
        let Some(record) = search.finished(study, tools)? else {
            return Ok(None);
        };
        let Some(trial) = record.best(study.most_values()) else {
            continue;
        };
        let key = |trial: &Trial| (trial.accuracy.unwrap_or(f64::NEG_INFINITY), -trial.values);
        if best
            .as_ref()
            .is_none_or(|(_, known)| key(trial) > key(known))
        {
            best = Some((search, trial.clone()));
        }
    }
    Ok(best)
}

/// As [`chosen`], with the settings of its run, which are committed.
pub fn found(study: &Study, tools: &Tools) -> Result<Option<Found>> {
    let Some((search, trial)) = chosen(study, tools)? else {
        return Ok(None);
    };
    let path = tools.docs.join("found.json");
    if path.is_file() {
        let known: Found = serde_json::from_str(&files::read(&path)?)
            .with_context(|| format!("{} is not what the study writes", path.display()))?;
        if known.trial.levels == trial.levels {
            return Ok(Some(known));
        }
    }
    // Another search may have run it before, and this one have taken it from the cache.
    let mut text = None;
    for other in study.searches() {
        let Some(record) = other.finished(study, tools)? else {
            continue;
        };
        let same = record
            .trials
            .iter()
            .filter(|one| one.levels == trial.levels);
        for one in same {
            let settings = other.trial_settings(tools, one.trial);
            if settings.is_file() {
                text = Some(files::read(&settings)?);
            }
        }
    }
    let text = text.with_context(|| {
        format!(
            "the settings of trial {} of {} are not in {}: remove its record under searches, and run the study again",
            trial.trial,
            search.name(),
            tools.work.display()
        )
    })?;
    let found = settings(&text, search.name(), trial)?;
    let mut json = serde_json::to_string_pretty(&found)?;
    json.push('\n');
    files::write_atomic(&path, json.as_bytes())?;
    Ok(Some(found))
}

/// What of a trial's settings is its configuration.
fn settings(text: &str, search: String, trial: Trial) -> Result<Found> {
    let run: toml::Table = text
        .parse()
        .context("the settings of the trial are not TOML")?;
    let method = run.get("method").and_then(toml::Value::as_str);
    let rate = run.get("learning_rate").and_then(toml::Value::as_float);
    let own = ["target_modules", "layers", "method_config"];
    let own: toml::Table = run
        .iter()
        .filter(|(name, _)| own.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Found {
        search,
        trial,
        method: method
            .context("the settings of the trial name no method")?
            .to_owned(),
        learning_rate: rate.context("the settings of the trial have no learning rate")?,
        settings: toml::to_string(&own).context("cannot write the settings of the trial")?,
    })
}

/// A trial that no other of all searches beats, with those that tried it.
pub struct OnFront<'a> {
    pub trial: &'a Trial,
    pub searches: Vec<String>,
}

/// The front of all searches by the rows that choose, smallest first.
pub fn front(records: &[Record]) -> Vec<OnFront<'_>> {
    let mut all: Vec<(&Trial, f64, &Record)> = records
        .iter()
        .flat_map(|record| {
            let ended = record.trials.iter();
            ended.filter_map(move |trial| Some((trial, trial.accuracy?, record)))
        })
        .collect();
    all.sort_by(|a, b| a.0.values.total_cmp(&b.0.values).then(b.1.total_cmp(&a.1)));
    let (mut best, mut front) = (f64::NEG_INFINITY, Vec::<OnFront>::new());
    for (trial, accuracy, record) in all {
        let name = format!("{}-s{}", record.proposer, record.seed);
        match front.last_mut() {
            Some(last) if last.trial.levels == trial.levels => {
                let other = !last.searches.contains(&name);
                last.searches.extend(other.then_some(name));
            }
            _ if accuracy > best => {
                best = accuracy;
                front.push(OnFront {
                    trial,
                    searches: vec![name],
                });
            }
            _ => {}
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn a_front_names_every_search_that_was_there() {
        let mut other = record();
        other.proposer = "random".into();
        other.trials[1].accuracy = Some(0.55);
        other.trials[1].levels = vec![1, 0, 1, 0];
        let records = [record(), other];
        let front = front(&records);
        let found: Vec<(f64, usize)> = front
            .iter()
            .map(|one| (one.trial.values, one.searches.len()))
            .collect();
        assert_eq!(found, [(10.0, 1), (1000.0, 2)]);
    }

    #[test]
    fn settings_keep_what_is_the_configuration() {
        let run = "model = \"/m\"\nmethod = \"lora\"\nlearning_rate = 0.004\nlayers = [1, 2]\n\
                   target_modules = [\"query\"]\nepochs = 1.0\n[method_config]\nr = 4\n";
        let trial = record().trials[0].clone();
        let found = settings(run, "bayes-s0".into(), trial.clone()).unwrap();
        assert_eq!(
            (found.method.as_str(), found.learning_rate),
            ("lora", 0.004)
        );
        let kept: toml::Table = found.settings.parse().unwrap();
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["layers", "method_config", "target_modules"]
        );
        let file = found.file();
        let other = settings(&run.replace("r = 4", "r = 8"), String::new(), trial).unwrap();
        assert_ne!(file, other.file());
    }
}
