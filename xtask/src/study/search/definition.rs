//! `study.toml` of a study of searches.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::run::Search;
use crate::study::definition::{Training, check_folder, distinct};

/// What `task` says in such a file.
pub const TASK: &str = "search";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Name of the folder under `docs/studies/`.
    pub name: String,
    /// What tells such a file from others: [`TASK`].
    #[serde(rename = "task")]
    _task: String,
    pub title: String,
    /// The question in a sentence or two, Markdown.
    pub question: String,
    /// What is to be said of the results beside what they say, Markdown.
    #[serde(default)]
    pub remarks: String,
    /// Folder of the model in the cache.
    pub model: String,
    /// Folder of the data in the cache that is searched on.
    pub data: String,
    /// Folder of the data that what is found is taken to.
    pub transfer: String,
    /// Of the runs on held-out rows.
    pub seeds: Vec<u64>,
    pub search: Settings,
    /// What chooses trials; what the first one finds goes to the held-out rows.
    #[serde(rename = "proposer")]
    pub proposers: Vec<Proposer>,
    pub training: Training,
    pub default: Baseline,
}

/// What all searches share.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Methods of the space `workspace`.
    pub methods: Vec<String>,
    /// Rows that a trial is trained on.
    pub rows: usize,
    pub epochs: u32,
    pub batch_size: u32,
    pub max_length: u32,
    pub trials: usize,
    /// Of the searches.
    pub seeds: Vec<u64>,
    pub threads: u32,
    /// Share of default LoRA's values that what is looked for may have.
    pub share: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposer {
    /// As `--sampler` has it.
    pub name: String,
    /// Settings of the sampler, as the description of a search has them.
    #[serde(default)]
    pub settings: BTreeMap<String, u64>,
}

/// LoRA as it is by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub method: String,
    /// Values without the head.
    pub values: u64,
    pub learning_rate: f64,
}

impl Study {
    pub fn parse(text: &str) -> Result<Self> {
        let study: Self = toml::from_str(text)?;
        for name in [&study.name, &study.model, &study.data, &study.transfer] {
            check_folder(name)?;
        }
        for proposer in &study.proposers {
            check_folder(&proposer.name)?;
        }
        ensure!(
            study.proposers.len() > 1
                && distinct(study.proposers.iter().map(|proposer| &proposer.name)),
            "name two [[proposer]]s or more, each once"
        );
        ensure!(
            !study.seeds.is_empty() && distinct(&study.seeds),
            "`seeds` names each seed once, and one at least"
        );
        let search = &study.search;
        ensure!(
            search.seeds.len() > 1 && distinct(&search.seeds),
            "`search.seeds` names two seeds or more, each once: proposers are compared by them"
        );
        ensure!(
            search.rows > 0 && search.epochs > 0 && search.trials > 1,
            "`search.rows`, `search.epochs` and `search.trials` are numbers above 0, of trials above 1"
        );
        ensure!(
            search.share > 0.0 && search.share <= 1.0,
            "`search.share` is above 0 and at most 1, not {}",
            search.share
        );
        ensure!(
            study.training.epochs.is_some(),
            "give `epochs` under [training]"
        );
        Ok(study)
    }

    /// Largest number of values of what is looked for.
    pub fn most_values(&self) -> f64 {
        (self.default.values as f64 * self.search.share).floor()
    }

    /// All searches, those of the first proposer first, the others seed by seed.
    pub fn searches(&self) -> Vec<Search<'_>> {
        let (first, others) = self.proposers.split_at(1);
        [first, others]
            .into_iter()
            .flat_map(|proposers| {
                let seeds = self.search.seeds.iter();
                seeds.flat_map(move |&seed| {
                    proposers
                        .iter()
                        .map(move |proposer| Search { proposer, seed })
                })
            })
            .collect()
    }
}

#[cfg(test)]
pub const EXAMPLE: &str = r#"
name = "search"
task = "search"
title = "A search"
question = "What does it find?"
model = "minilm"
data = "rotten_tomatoes"
transfer = "tweets"
seeds = [0, 1]

[search]
methods = ["lora", "bitfit"]
rows = 8
epochs = 1
batch_size = 4
max_length = 8
trials = 3
seeds = [0, 1]
threads = 1
share = 0.5

[[proposer]]
name = "bayes"
settings = { initial = 2 }

[[proposer]]
name = "random"

[[proposer]]
name = "nsga2"

[training]
max_length = 8
batch_size = 4
epochs = 1
head_learning_rate = 2e-3
schedule = "linear"
warmup = 0.06
clip = 1.0
weight_decay = 0.0
threads = 1

[default]
method = "lora"
values = 101
learning_rate = 2e-3
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_come_in_the_order_in_which_they_are_needed() {
        let study = Study::parse(EXAMPLE).unwrap();
        let names: Vec<String> = study.searches().iter().map(Search::name).collect();
        assert_eq!(
            names,
            [
                "bayes-s0",
                "bayes-s1",
                "random-s0",
                "nsga2-s0",
                "random-s1",
                "nsga2-s1"
            ]
        );
        assert_eq!(study.most_values(), 50.0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (from, to, message) in [
            ("name = \"random\"", "name = \"bayes\"", "each once"),
            ("share = 0.5", "share = 1.5", "at most 1"),
            ("trials = 3", "trials = 1", "above 1"),
            (
                "seeds = [0, 1]\nthreads",
                "seeds = [1]\nthreads",
                "two seeds",
            ),
            (
                "transfer = \"tweets\"",
                "transfer = \"../x\"",
                "names a folder",
            ),
            ("epochs = 1\nhead", "head", "`epochs`"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE, "{from} is not in the example");
            let error = format!("{:#}", Study::parse(&text).unwrap_err());
            assert!(error.contains(message), "{to}: {error}");
        }
    }
}
