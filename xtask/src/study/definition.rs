//! `study.toml`: what is compared, on which data, and what is claimed.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::sample::{self, Drawn, Sample};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Name of the folder under `docs/studies/`.
    pub name: String,
    pub title: String,
    /// The question in a sentence or two, Markdown.
    pub question: String,
    pub protocol: Protocol,
    /// Folder of the model in the cache.
    pub model: String,
    /// Folder of the data in the cache.
    pub data: String,
    /// Sweep each arm's `learning_rates` on the first seed, or take its `learning_rate`.
    pub rates: Rates,
    pub seeds: Vec<u64>,
    pub training: Training,
    /// Numbers of rows to fit on; each arm runs on all of them.
    #[serde(rename = "sample", default)]
    pub samples: Vec<Sample>,
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    #[serde(rename = "claim", default)]
    pub claims: Vec<Claim>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 2,000 rows to fit, 400 to select.
    Small,
    /// All rows.
    Full,
}

impl Protocol {
    pub fn fit(self) -> &'static str {
        if self == Self::Small {
            "fit_small.csv"
        } else {
            "fit.csv"
        }
    }

    pub fn select(self) -> &'static str {
        if self == Self::Small {
            "select_small.csv"
        } else {
            "select.csv"
        }
    }

    pub fn report(self) -> &'static str {
        "report.csv"
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Rates {
    Sweep,
    Fixed,
}

/// What every arm shares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub max_length: u32,
    pub batch_size: u32,
    /// Where there are no samples, which have their own.
    pub epochs: Option<u32>,
    /// Where an arm has none of its own.
    pub head_learning_rate: f64,
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
    /// Learning rate of the head, instead of the study's.
    #[serde(default)]
    pub head_learning_rate: Option<f64>,
    /// The model is made so many times as wide, its function unchanged.
    #[serde(default = "once")]
    pub widen: usize,
    /// Command-line flags of the engine without their dashes: `rank = 8` becomes `--rank 8`.
    #[serde(default)]
    pub flags: BTreeMap<String, toml::Value>,
    /// The sample of rows that it is fitted on.
    #[serde(skip)]
    pub drawn: Option<Drawn>,
}

fn once() -> usize {
    1
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    Peft,
    HfPeft,
}

impl Engine {
    pub fn name(self) -> &'static str {
        if self == Self::Peft {
            "peft"
        } else {
            "hf-peft"
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub kind: ClaimKind,
    pub arm: String,
    pub against: String,
    /// The samples that it is about, where there are any.
    #[serde(default)]
    pub rows: Option<Vec<usize>>,
    /// Which weights are compared: those of the last step, or those that selection keeps.
    #[serde(default)]
    pub checkpoint: Checkpoint,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ClaimKind {
    Equal,
    Better,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Checkpoint {
    #[default]
    Last,
    Kept,
}

impl Study {
    pub fn parse(text: &str) -> Result<Self> {
        let mut study: Self = toml::from_str(text)?;
        sample::expand(&mut study)?;
        study.check()?;
        Ok(study)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.seeds.is_empty(),
            "`seeds` is empty: name at least one"
        );
        ensure!(distinct(&self.seeds), "`seeds` names a seed twice");
        ensure!(
            !self.arms.is_empty(),
            "no [[arm]]: a study compares at least one"
        );
        ensure!(
            distinct(self.arms.iter().map(|arm| &arm.name)),
            "two arms have the same name"
        );
        for name in [&self.name, &self.model, &self.data]
            .into_iter()
            .chain(self.arms.iter().map(|arm| &arm.name))
        {
            check_folder(name)?;
        }
        ensure!(
            self.training.epochs.is_none() != self.samples.is_empty(),
            "give `epochs` under [training], or [[sample]]s with their own"
        );
        for arm in &self.arms {
            ensure!(
                (1..=16).contains(&arm.widen),
                "arm {}: `widen` is a factor from 1 to 16",
                arm.name
            );
            ensure!(
                arm.drawn.is_none() || arm.engine == Engine::Peft,
                "arm {}: samples of rows are for the engine peft, not hf-peft",
                arm.name
            );
            for flag in arm.flags.keys() {
                ensure!(
                    !flag.starts_with('-'),
                    "arm {}: write flag {flag:?} without dashes",
                    arm.name
                );
            }
            for rate in self.rates_of(arm).into_iter().chain(arm.head_learning_rate) {
                ensure!(
                    rate > 0.0 && rate.is_finite(),
                    "arm {}: {rate} is no learning rate",
                    arm.name
                );
            }
            if self.rates == Rates::Sweep {
                ensure!(
                    arm.learning_rates.contains(&arm.learning_rate),
                    "arm {}: `learning_rates` must contain the default, {:e}",
                    arm.name,
                    arm.learning_rate
                );
                let budget = self.arms[0].learning_rates.len();
                ensure!(
                    arm.learning_rates.len() == budget,
                    "arm {} tries {} rates, {} tries {budget}: every arm has the same budget",
                    arm.name,
                    arm.learning_rates.len(),
                    self.arms[0].name
                );
            }
        }
        for claim in &self.claims {
            for name in [&claim.arm, &claim.against] {
                ensure!(
                    self.arms.iter().any(|arm| arm.name == *name),
                    "a claim is about {name:?}, which is not the name of an arm"
                );
            }
        }
        Ok(())
    }

    /// The rates that compete in an arm.
    pub fn rates_of(&self, arm: &Arm) -> Vec<f64> {
        match self.rates {
            Rates::Fixed => vec![arm.learning_rate],
            Rates::Sweep => arm.learning_rates.clone(),
        }
    }
}

/// Refuse a name that a folder cannot have everywhere.
pub fn check_folder(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.chars().all(plain),
        "{name:?} names a folder: use letters, digits, `.`, `_` and `-` only"
    );
    Ok(())
}

/// Whether nothing occurs twice.
pub fn distinct<T: Eq + std::hash::Hash>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}
