//! Multi-objective Bayesian optimisation.

use serde::{Deserialize, Serialize};

use super::Surrogate;
use super::outputs::{Fitted, Observed, Transform};
use crate::acquisition::{Evidence, Improvement};
use crate::ascent::{Starts, published, steepest};
use crate::design::{fresh, initial, purpose};
use crate::gp::{Ensemble, Rows};
use crate::hypervolume::infer_reference;
use crate::{
    Configuration, Counter, Encoding, History, Origin, Problem, Sampler, SearchError, pareto,
};

/// The configurations before there is a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialDesign {
    /// Scrambled Sobol points, and the number of binary parameters that are on stratified.
    Stratified,
    /// Uniform by rejection.
    Uniform,
}

/// What is done with known objectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knowledge {
    /// They are taken as they are.
    Exact,
    /// They are modelled as if they had been measured: AutoPEFT's way, for comparisons.
    Modelled,
}

/// How the acquisition function is maximised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acquisition {
    /// Steepest ascent over the full neighbourhood from many starts.
    Steepest,
    /// AutoPEFT's search by random neighbours.
    RandomNeighbours,
    /// The same with the published code's error: the start of the best restart is proposed, and not its end.
    RandomNeighboursStart,
}

/// Gaussian processes and noisy expected hypervolume improvement, candidate after candidate: each candidate of a
/// batch, and every trial still running, is pending for the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bayes {
    /// Trials before the model takes over, warm starts included.
    pub initial: u64,
    /// How they are chosen.
    pub design: InitialDesign,
    /// The surrogate.
    pub surrogate: Surrogate,
    /// What it is fitted to.
    pub transform: Transform,
    /// What is done with known objectives.
    pub knowledge: Knowledge,
    /// Whether measured objectives have noise.
    pub noisy: bool,
    /// Draws of the true values where they have.
    pub samples: usize,
    /// How the acquisition function is maximised.
    pub acquisition: Acquisition,
}

impl Default for Bayes {
    fn default() -> Self {
        Self {
            initial: 20,
            design: InitialDesign::Stratified,
            surrogate: Surrogate::Ard,
            transform: Transform::Standardise,
            knowledge: Knowledge::Exact,
            noisy: true,
            samples: 32,
            acquisition: Acquisition::Steepest,
        }
    }
}

impl Bayes {
    /// AutoPEFT's loop as the paper describes it (arXiv 2301.12132): 100 uniform configurations, then SAAS surrogates
    /// of both objectives on Gaussian copulas, noisy expected hypervolume improvement with 128 samples, and its
    /// local search. The surrogate is the maximum-a-posteriori ensemble in place of its Hamiltonian Monte Carlo, which
    /// [`autopeft_nuts`](Self::autopeft_nuts) has.
    pub fn autopeft() -> Self {
        Self {
            initial: 100,
            design: InitialDesign::Uniform,
            surrogate: Surrogate::Saas,
            transform: Transform::Copula,
            knowledge: Knowledge::Modelled,
            noisy: true,
            samples: 128,
            acquisition: Acquisition::RandomNeighbours,
        }
    }

    /// [`autopeft`](Self::autopeft) with the paper's surrogate, SAAS by Hamiltonian Monte Carlo: needs the feature
    /// `nuts`.
    pub fn autopeft_nuts() -> Self {
        Self {
            surrogate: Surrogate::SaasNuts,
            ..Self::autopeft()
        }
    }

    /// [`autopeft`](Self::autopeft) with the published code's error.
    pub fn autopeft_published() -> Self {
        Self {
            acquisition: Acquisition::RandomNeighboursStart,
            ..Self::autopeft()
        }
    }

    /// The model of a history; none before there are two different results.
    ///
    /// # Errors
    ///
    /// [`SearchError::Fit`] where a surrogate cannot be fitted.
    fn model<'a>(
        &self,
        problem: &'a Problem,
        history: &'a History,
        seed: u64,
    ) -> Result<Option<Model<'a>>, SearchError> {
        let Some(observed) = Observed::new(problem, history).filter(|o| o.trials.len() > 1) else {
            return Ok(None);
        };
        let objectives = problem.objectives().len();
        let modelled = match self.knowledge {
            Knowledge::Exact => problem.measured(),
            Knowledge::Modelled => (0..objectives).collect(),
        };
        let reference = match problem.reference() {
            Some(values) => {
                let each = problem.objectives().iter().zip(values);
                each.map(|(objective, value)| objective.score(*value))
                    .collect()
            }
            None => {
                let first: Vec<Vec<f64>> = observed
                    .trials
                    .iter()
                    .zip(&observed.scores)
                    .filter(|(trial, _)| trial.number < self.initial)
                    .map(|(_, scores)| scores.clone())
                    .collect();
                let from = if first.is_empty() {
                    &observed.scores
                } else {
                    &first
                };
                infer_reference(from).unwrap_or_else(|| observed.scores[0].clone())
            }
        };
        let fitted: Vec<Fitted> = (0..objectives)
            .map(|o| self.transform.fit(&observed.column(o)))
            .collect();
        let scale = |row: &[f64]| row.iter().zip(&fitted).map(|(s, f)| f.apply(*s)).collect();
        let scores: Vec<Vec<f64>> = observed.scores.iter().map(|row| scale(row)).collect();
        let encoding = Encoding::new(problem.space());
        let mut values = Vec::new();
        for trial in &observed.trials {
            encoding.row(problem.space(), &trial.configuration, &mut values);
        }
        let rows = Rows::new(encoding.width(), values);
        let floor = if self.noisy { 1e-4 } else { 1e-6 };
        let mut surrogates = Vec::with_capacity(modelled.len());
        for &objective in &modelled {
            let outputs: Vec<f64> = scores.iter().map(|row| row[objective]).collect();
            let index = history.trials().len() as u64 * objectives as u64 + objective as u64;
            let mut counter = Counter::new(seed, purpose::FIT, index);
            let groups = encoding.groups();
            surrogates.push(
                self.surrogate
                    .fit(&rows, &outputs, groups, floor, &mut counter)?,
            );
        }
        let reference = scale(&reference);
        let good = pareto::front(&observed.scores)
            .into_iter()
            .map(|index| observed.trials[index].configuration.clone())
            .collect();
        Ok(Some(Model {
            problem,
            encoding,
            modelled,
            fitted,
            scores,
            rows,
            surrogates,
            reference,
            good,
        }))
    }

    /// How much each parameter matters to each modelled objective: `1/ℓ²` of its length scale (the sum of its
    /// scales, where it has more), in parts of the objective's total. None before there are two results.
    ///
    /// # Errors
    ///
    /// [`SearchError::Fit`] where a surrogate cannot be fitted, [`SearchError::Feature`] where this build has none.
    pub fn importance(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
    ) -> Result<Option<Vec<Vec<f64>>>, SearchError> {
        let Some(model) = self.model(problem, history, seed)? else {
            return Ok(None);
        };
        let of = |surrogate: &Ensemble| {
            let mut shares = vec![0.0; problem.space().parameters().len()];
            for (precision, &owner) in surrogate.precisions().iter().zip(model.encoding.owners()) {
                shares[owner] += precision;
            }
            let total: f64 = shares.iter().sum();
            shares.iter_mut().for_each(|share| *share /= total);
            shares
        };
        Ok(Some(model.surrogates.iter().map(of).collect()))
    }
}

/// A fitted model of a history.
struct Model<'a> {
    problem: &'a Problem,
    encoding: Encoding,
    modelled: Vec<usize>,
    fitted: Vec<Fitted>,
    scores: Vec<Vec<f64>>,
    rows: Rows,
    surrogates: Vec<Ensemble>,
    reference: Vec<f64>,
    good: Vec<Configuration>,
}

impl Model<'_> {
    /// Rows and transformed known scores of configurations.
    fn rows(
        &self,
        configurations: &[Configuration],
    ) -> Result<(Vec<f64>, Vec<Vec<f64>>), SearchError> {
        let mut values = Vec::with_capacity(configurations.len() * self.encoding.width());
        let mut scores = Vec::with_capacity(configurations.len());
        for configuration in configurations {
            self.encoding
                .row(self.problem.space(), configuration, &mut values);
            let known = self.problem.known(configuration)?;
            let raw = self.problem.scores(&known, &[]);
            scores.push(
                raw.iter()
                    .zip(&self.fitted)
                    .map(|(s, f)| f.apply(*s))
                    .collect(),
            );
        }
        Ok((values, scores))
    }
}

impl Sampler for Bayes {
    fn name(&self) -> &'static str {
        "bayes"
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        // Before the first trial, and not only when the model takes over.
        self.surrogate.check()?;
        let space = problem.space();
        let first = history.trials().len() as u64;
        let mut chosen: Vec<Configuration> = Vec::with_capacity(count);
        let mut origins = Vec::with_capacity(count);
        let mut model = None;
        for trial in (first..).take(count) {
            if trial >= self.initial && model.is_none() {
                model = Some(self.model(problem, history, seed)?);
            }
            let (next, origin) = match &model {
                Some(Some(model)) => (
                    self.best(model, history, seed, trial, &chosen)?,
                    Origin::Model,
                ),
                _ if self.design == InitialDesign::Stratified => (
                    initial(space, history, seed, trial, &chosen),
                    Origin::Initial,
                ),
                _ => {
                    let mut counter = Counter::new(seed, purpose::RANDOM, trial);
                    let taken = |c: &Configuration| history.has(c) || chosen.contains(c);
                    (fresh(space, &mut counter, taken), Origin::Initial)
                }
            };
            let Some(next) = next else {
                break;
            };
            chosen.push(next);
            origins.push(origin);
        }
        Ok(chosen.into_iter().zip(origins).collect())
    }
}

impl Bayes {
    /// The configuration with the largest acquisition, given what was chosen before it.
    fn best(
        &self,
        model: &Model<'_>,
        history: &History,
        seed: u64,
        trial: u64,
        chosen: &[Configuration],
    ) -> Result<Option<Configuration>, SearchError> {
        let mut pending: Vec<Configuration> = history
            .running()
            .map(|trial| trial.configuration.clone())
            .collect();
        pending.extend(chosen.iter().cloned());
        let (pending_rows, pending_scores) = model.rows(&pending)?;
        let mut values: Vec<f64> = (0..model.rows.len())
            .flat_map(|row| model.rows.row(row).to_vec())
            .collect();
        values.extend(pending_rows);
        let mut scores = model.scores.clone();
        scores.extend(pending_scores);
        let rows = Rows::new(model.encoding.width(), values);
        let evidence = Evidence {
            surrogates: &model.surrogates,
            modelled: &model.modelled,
            rows: &rows,
            scores: &scores,
            observed: model.rows.len(),
            reference: &model.reference,
            noisy: self.noisy,
            samples: self.samples,
        };
        let mut truths = Counter::new(seed, purpose::TRUTHS, trial);
        let improvement = Improvement::new(&evidence, &mut truths)?;
        let mut evaluate = |candidates: &[Configuration]| -> Result<Vec<f64>, SearchError> {
            if candidates.is_empty() {
                return Ok(Vec::new());
            }
            let (values, scores) = model.rows(candidates)?;
            Ok(improvement.ln_values(&Rows::new(model.encoding.width(), values), &scores))
        };
        let space = model.problem.space();
        let taken = |c: &Configuration| history.has(c) || chosen.contains(c);
        let mut counter = Counter::new(seed, purpose::STARTS, trial);
        let start = self.acquisition == Acquisition::RandomNeighboursStart;
        let found = match self.acquisition {
            Acquisition::Steepest => steepest(
                space,
                &model.good,
                &taken,
                Starts::default(),
                &mut counter,
                &mut evaluate,
            )?,
            _ => published(
                space,
                &model.good,
                &taken,
                start,
                &mut counter,
                &mut evaluate,
            )?,
        };
        let found = found.map(|(configuration, _)| configuration);
        Ok(found.or_else(|| fresh(space, &mut counter, taken)))
    }
}
