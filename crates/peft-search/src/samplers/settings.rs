//! Any of the samplers, as settings name it.

use serde::{Deserialize, Serialize};

use super::{Bayes, Motpe, Nsga2, Random};
use crate::{Configuration, History, Origin, Problem, Sampler, SearchError};

/// A range of a setting, its ends included, and what an error says of it.
type Range = (std::ops::RangeInclusive<f64>, &'static str);

/// Each sample is a fit of its own to draw from, and each member of a population or candidate one to score: more would
/// fill memory, or never end.
const SAMPLES: Range = (1.0..=1e4, "it must be from 1 to 10,000");
const POPULATION: Range = (2.0..=1e6, "it must be from 2 to 1,000,000");
const CANDIDATES: Range = (1.0..=1e5, "it must be from 1 to 100,000");
const SHARE: Range = (0.0..=1.0, "it must be from 0 to 1");

fn within(setting: &'static str, value: f64, (range, expected): Range) -> Result<(), SearchError> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(SearchError::Setting {
            setting,
            value,
            expected,
        }),
    }
}

/// A sampler with its settings, as a study's description stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "sampler", rename_all = "kebab-case")]
pub enum Settings {
    /// Bayesian optimisation.
    Bayes(Bayes),
    /// Uniform draws.
    Random,
    /// NSGA-II.
    Nsga2(Nsga2),
    /// MOTPE.
    Motpe(Motpe),
}

impl Default for Settings {
    fn default() -> Self {
        Self::Bayes(Bayes::default())
    }
}

impl Settings {
    /// The model whose length scales say which parameters matter: the sampler's own where it has one.
    pub fn model(&self) -> Bayes {
        match self {
            Self::Bayes(bayes) => bayes.clone(),
            _ => Bayes::default(),
        }
    }

    /// Checks that this build has what they name.
    ///
    /// # Errors
    ///
    /// Those of [`Surrogate::check`](super::Surrogate::check).
    pub fn check(&self) -> Result<(), SearchError> {
        match self {
            Self::Bayes(bayes) => bayes.surrogate.check(),
            _ => Ok(()),
        }
    }

    /// Checks that every number is one that a search can use. Of what comes first, all of a study may be: it has no
    /// upper end.
    ///
    /// # Errors
    ///
    /// [`SearchError::Setting`] of the first that is outside its range.
    pub fn check_ranges(&self) -> Result<(), SearchError> {
        match self {
            Self::Bayes(bayes) => within("samples", bayes.samples as f64, SAMPLES),
            Self::Random => Ok(()),
            Self::Nsga2(nsga2) => within("population", nsga2.population as f64, POPULATION)
                .and_then(|()| within("crossover", nsga2.crossover, SHARE)),
            Self::Motpe(motpe) => within("candidates", motpe.candidates as f64, CANDIDATES)
                .and_then(|()| within("best", motpe.best, SHARE)),
        }
    }

    fn sampler(&self) -> &dyn Sampler {
        match self {
            Self::Bayes(bayes) => bayes,
            Self::Random => &Random,
            Self::Nsga2(nsga2) => nsga2,
            Self::Motpe(motpe) => motpe,
        }
    }
}

impl Sampler for Settings {
    fn name(&self) -> &'static str {
        self.sampler().name()
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        self.sampler().propose(problem, history, seed, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_ranges_are_refused() {
        let wrong = [
            r#"{"sampler": "bayes", "samples": 0}"#,
            r#"{"sampler": "bayes", "samples": 18446744073709551615}"#,
            r#"{"sampler": "nsga2", "population": 1}"#,
            r#"{"sampler": "nsga2", "population": 18446744073709551615}"#,
            r#"{"sampler": "nsga2", "crossover": 1.5}"#,
            r#"{"sampler": "motpe", "candidates": 0}"#,
            r#"{"sampler": "motpe", "candidates": 18446744073709551615}"#,
            r#"{"sampler": "motpe", "best": -0.1}"#,
        ];
        for text in wrong {
            let settings: Settings = serde_json::from_str(text).unwrap();
            let error = settings.check_ranges().unwrap_err();
            assert!(matches!(error, SearchError::Setting { .. }), "{error}");
        }
        for name in ["bayes", "random", "nsga2", "motpe"] {
            let usual: Settings =
                serde_json::from_value(serde_json::json!({ "sampler": name })).unwrap();
            usual.check_ranges().unwrap();
        }
    }
}
