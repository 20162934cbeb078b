//! `study.toml` of a study of language models.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::material::Data;
use crate::pretrain::Family;
use crate::study::definition::{Engine, Rates, check_folder, distinct};

/// What `task` says of such a study.
pub const TASK: &str = "causal-lm";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Name of the folder under `docs/studies/`.
    pub name: String,
    pub task: String,
    pub title: String,
    /// The question in a sentence or two, Markdown.
    pub question: String,
    /// What a reader has to know of the results, Markdown; written by hand.
    #[serde(default)]
    pub remarks: String,
    /// A model that was pretrained here; SmolLM2 if absent.
    #[serde(default)]
    pub model: Option<Family>,
    /// The rows; word problems if absent.
    #[serde(default)]
    pub data: Data,
    /// Blocks of SmolLM2, from the first; all 30 if absent.
    #[serde(default)]
    pub blocks: Option<usize>,
    /// Sweep each arm's `learning_rates` on the first seed, or take its `learning_rate`.
    pub rates: Rates,
    pub seeds: Vec<u64>,
    pub training: Training,
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    #[serde(rename = "claim", default)]
    pub claims: Vec<Claim>,
}

/// What every arm shares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub steps: u32,
    /// Rows a step.
    pub batch_size: u32,
    pub max_length: u32,
    pub schedule: String,
    /// Share of the steps that warm up.
    pub warmup: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
    pub weight_decay: f64,
    pub threads: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub name: String,
    pub engine: Engine,
    pub method: String,
    /// The method's default rate; the only one where rates are fixed.
    pub learning_rate: f64,
    /// Rates of the sweep, the default among them.
    #[serde(default)]
    pub learning_rates: Vec<f64>,
    /// Flags of `peft train` without their dashes.
    #[serde(default)]
    pub flags: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub kind: ClaimKind,
    pub arm: String,
    pub against: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ClaimKind {
    /// The perplexity is the same within 2 %.
    Equal,
    /// The perplexity is lower.
    Better,
    /// The losses of all steps are the same within 0.01.
    Curve,
    /// More rows have the right answer.
    Accurate,
}

impl Study {
    pub fn parse(text: &str) -> Result<Self> {
        let study: Self = toml::from_str(text)?;
        study.check()?;
        Ok(study)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.task == TASK, "`task` is {:?}, not {TASK:?}", self.task);
        ensure!(
            !self.seeds.is_empty() && distinct(&self.seeds),
            "`seeds` names at least one seed, and none twice"
        );
        ensure!(
            !self.arms.is_empty() && distinct(self.arms.iter().map(|arm| &arm.name)),
            "there is at least one [[arm]], and no two have the same name"
        );
        for name in [&self.name]
            .into_iter()
            .chain(self.arms.iter().map(|arm| &arm.name))
        {
            check_folder(name)?;
        }
        for arm in &self.arms {
            let rates = self.rates_of(arm);
            ensure!(
                rates.iter().all(|rate| *rate > 0.0 && rate.is_finite()),
                "arm {}: a learning rate is a number above 0",
                arm.name
            );
            let budget = self.rates_of(&self.arms[0]).len();
            ensure!(
                rates.len() == budget && rates.contains(&arm.learning_rate),
                "arm {}: every arm tries {budget} rates, its default among them",
                arm.name
            );
            let bare = |flag: &String| !flag.starts_with('-');
            ensure!(
                arm.flags.keys().all(bare),
                "arm {}: write flags without dashes",
                arm.name
            );
        }
        for claim in &self.claims {
            ensure!(
                claim.kind != ClaimKind::Accurate || self.data == Data::FileTypes,
                "a claim is about accuracy, and the rows have no answers to choose from"
            );
            for name in [&claim.arm, &claim.against] {
                self.arm(name)
                    .with_context(|| format!("a claim is about {name:?}, which is no arm"))?;
            }
        }
        Ok(())
    }

    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The rates that compete in an arm.
    pub fn rates_of(&self, arm: &Arm) -> Vec<f64> {
        match self.rates {
            Rates::Fixed => vec![arm.learning_rate],
            Rates::Sweep => arm.learning_rates.clone(),
        }
    }

    /// Whether arms of both engines are compared: they then begin with the same adapter and see the same
    /// batches.
    pub fn is_against_reference(&self) -> bool {
        self.arms.iter().any(|arm| arm.engine == Engine::HfPeft)
    }
}

#[cfg(test)]
pub const EXAMPLE: &str = r#"
name = "example"
task = "causal-lm"
title = "An example"
question = "Does it work?"
blocks = 8
rates = "sweep"
seeds = [0, 1]

[training]
steps = 3
batch_size = 2
max_length = 64
schedule = "linear"
warmup = 0.06
clip = 1.0
weight_decay = 0.0
threads = 1

[[arm]]
name = "lora"
engine = "peft"
method = "lora"
learning_rate = 2e-3
learning_rates = [1e-3, 2e-3]
flags = { rank = 8, use-rslora = true }

[[arm]]
name = "shira"
engine = "peft"
method = "shira"
learning_rate = 8e-3
learning_rates = [4e-3, 8e-3]

[[claim]]
kind = "better"
arm = "shira"
against = "lora"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_the_same_budget_and_its_default() {
        let study = Study::parse(EXAMPLE).unwrap();
        assert_eq!(study.model_name().unwrap(), "smollm2-f32-8-blocks");
        assert!(!study.is_against_reference());
        let refused = |from: &str, to: &str| {
            let error = Study::parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err();
            format!("{error:#}")
        };
        let said = refused("[4e-3, 8e-3]", "[8e-3]");
        assert!(said.contains("arm shira: every arm tries 2"), "{said}");
        let said = refused("[1e-3, 2e-3]", "[1e-3, 4e-3]");
        assert!(said.contains("arm lora"), "{said}");
        assert!(refused("against = \"lora\"", "against = \"dora\"").contains("dora"));
        assert!(refused("seeds = [0, 1]", "seeds = [0, 0]").contains("seed"));
        assert!(refused("kind = \"better\"", "kind = \"accurate\"").contains("answers"));
        let text = EXAMPLE.replacen("blocks = 8", "data = \"file-types\"", 1);
        let text = text.replacen("kind = \"better\"", "kind = \"accurate\"", 1);
        assert_eq!(Study::parse(&text).unwrap().data, Data::FileTypes);
    }
}
