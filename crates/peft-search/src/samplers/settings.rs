//! Any of the samplers, as settings name it.

use serde::{Deserialize, Serialize};

use super::{Bayes, Motpe, Nsga2, Random};
use crate::{Configuration, History, Origin, Problem, Sampler, SearchError};

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
