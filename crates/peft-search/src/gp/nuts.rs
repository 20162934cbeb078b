//! Fully Bayesian SAAS models: draws of the hyper-parameters by Hamiltonian Monte Carlo.

mod chain;

use super::kernel::Rows;
use super::minimise::minimise;
use super::posterior::Gp;
use super::prior::Prior;
use super::target::{Target, Theta};
use crate::{Counter, SearchError};

/// How long a chain runs and what is kept of it. The default is AutoPEFT's (arXiv 2301.12132): 16 draws are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NutsSettings {
    /// Draws that adapt step size and mass matrix, and are not kept.
    pub warmup: usize,
    /// Draws after them.
    pub draws: usize,
    /// Of these, every so many-th is kept.
    pub thinning: usize,
    /// Doublings of a trajectory at most: a draw takes fewer than 2^depth gradients.
    pub depth: u64,
}

impl Default for NutsSettings {
    fn default() -> Self {
        Self {
            warmup: 128,
            draws: 64,
            thinning: 4,
            depth: 6,
        }
    }
}

/// Longest warm-up, and most draws after it.
const LONGEST: usize = 1_000_000;

impl NutsSettings {
    fn check(&self) -> Result<(), SearchError> {
        let refuse = |setting, value: usize, expected| {
            let value = value as f64;
            Err(SearchError::Setting {
                setting,
                value,
                expected,
            })
        };
        if self.thinning == 0 {
            return refuse("nuts.thinning", 0, "it must be 1 or more");
        }
        if self.warmup > LONGEST {
            return refuse("nuts.warmup", self.warmup, "it must be a million or less");
        }
        if !(self.thinning..=LONGEST).contains(&self.draws) {
            let expected = "it must be nuts.thinning or more, and a million or less";
            return refuse("nuts.draws", self.draws, expected);
        }
        if !(1..=20).contains(&self.depth) {
            return refuse("nuts.depth", self.depth as usize, "it must be from 1 to 20");
        }
        Ok(())
    }
}

/// Scale of `τ`'s half-Cauchy prior.
const SHRINKAGE_SCALE: f64 = 0.1;

/// Starts that are tried before a fit is given up.
const ATTEMPTS: u64 = 3;

/// The posterior of a SAAS model's hyper-parameters (Eriksson and Jankowiak, arXiv 2103.00229) as a density of
/// `t = (c, ln s², ln σ², ln τ, ln λ_1, …)`, with `ρ_i = τ λ_i`:
///
/// `ln p(y | X, t) − c²/2 + 2 t_1 − 0.15 s² + 0.9 t_2 − 10 σ² − ln(1 + (τ/0.1)²) + t_3 + Σ (ln λ_i − ln(1 + λ_i²))`,
///
/// which are the priors of [`Prior::Saas`] and `τ ~ HC(0.1)`, and the Jacobian of the logarithms: draws of the
/// logarithms need it, where a maximum a posteriori must not have it.
#[derive(Debug, Clone)]
pub struct SaasDensity<'a> {
    target: Target<'a>,
}

/// Draws of hyper-parameters, and how the chain went.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    /// `(c, ln s², ln σ², ln τ, ln λ_1, …)` of every draw that was kept.
    pub points: Vec<Vec<f64>>,
    /// How many of [`NutsSettings::draws`] ended in a divergence. Many mean that parts of the posterior are missing.
    pub divergences: usize,
    /// Gradients of the density that the chain took.
    pub gradients: u64,
}

impl<'a> SaasDensity<'a> {
    /// The density for observed rows. `groups[column]` is the length scale of a column, 0 and up without gaps; `floor`
    /// is added to the noise variance.
    ///
    /// # Panics
    ///
    /// Where rows, outputs and groups differ in length.
    pub fn new(rows: &'a Rows, outputs: &'a [f64], groups: &'a [usize], floor: f64) -> Self {
        let prior = Prior::Saas {
            shrinkage: SHRINKAGE_SCALE,
        };
        Self {
            target: Target::new(rows, outputs, groups, prior, floor),
        }
    }

    /// How many numbers a point has: 4, and one for each length scale.
    pub fn dimensions(&self) -> usize {
        self.target.scales() + 4
    }

    /// The hyper-parameters of a Gaussian process at a point.
    pub fn theta(&self, point: &[f64]) -> Theta {
        let scales = point[4..].iter().map(|ln| point[3] + ln);
        Theta {
            values: point[..3].iter().copied().chain(scales).collect(),
        }
    }

    /// The Gaussian process at a point; none where its covariance has no Cholesky factor.
    pub(super) fn process(&self, point: &[f64]) -> Option<Gp> {
        Gp::new(&self.target, self.theta(point))
    }

    /// The log-density up to a constant, and its gradient; none where it is not finite or the covariance has no
    /// Cholesky factor.
    pub fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Option<f64> {
        let theta = self.theta(point).values;
        let mut slopes = vec![0.0; theta.len()];
        let fit = self.target.ln_likelihood(&theta, &mut slopes)?;
        let ln_shrinkage: f64 = slopes[3..].iter().sum();
        // Given τ, the prior depends on λ = ρ/τ alone.
        let shrinkage = point[3].exp();
        let prior = Prior::Saas { shrinkage }.ln_density(&theta, &mut slopes);
        let square = (shrinkage / SHRINKAGE_SCALE).powi(2);
        let jacobian: f64 = point[1..].iter().sum();
        gradient[..3].copy_from_slice(&slopes[..3]);
        gradient[3] = ln_shrinkage - 2.0 * square / (1.0 + square);
        gradient[4..].copy_from_slice(&slopes[3..]);
        gradient[1..].iter_mut().for_each(|slope| *slope += 1.0);
        let total = fit + prior - square.ln_1p() + jacobian;
        let whole = total.is_finite() && gradient.iter().all(|slope| slope.is_finite());
        whole.then_some(total)
    }

    /// Draws by the No-U-Turn sampler, whose chain starts near the density's mode. `counter` draws all random numbers:
    /// the same counter gives the same draws. A chain magnifies rounding: on processors that add in another order, the
    /// draws are others, from the same distribution.
    ///
    /// # Errors
    ///
    /// [`SearchError::Setting`] of a setting out of its range; [`SearchError::Fit`] where there are no observations,
    /// one is not finite, or three chains from different starts had no value or diverged in most of their draws.
    pub fn sample(
        &self,
        settings: &NutsSettings,
        counter: &mut Counter,
    ) -> Result<Draws, SearchError> {
        settings.check()?;
        let outputs = self.target.outputs();
        let refuse = |reason: String| SearchError::Fit {
            rows: outputs.len(),
            reason,
        };
        if outputs.is_empty() {
            return Err(refuse("it needs at least one".into()));
        }
        if outputs.iter().any(|value| !value.is_finite()) {
            return Err(refuse("one is not a finite number".into()));
        }
        let mode = self.mode();
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let start: Vec<f64> = mode
                .iter()
                .map(|t| t + START_SPREAD * counter.normal())
                .collect();
            let density = |point: &[f64], gradient: &mut [f64]| self.evaluate(point, gradient);
            match chain::draw(density, &start, settings, counter) {
                Ok(drawn) if 2 * drawn.divergences <= settings.draws => return Ok(drawn),
                Ok(drawn) => {
                    reason = format!("{} of {} draws diverged", drawn.divergences, settings.draws);
                }
                Err(error) => reason = error,
            }
        }
        Err(refuse(format!(
            "no chain of {ATTEMPTS} could draw its hyper-parameters ({reason}): choose the surrogate `saas`"
        )))
    }

    /// The largest density found from the middle of the prior.
    fn mode(&self) -> Vec<f64> {
        let scales = self.target.scales();
        let middle = [0.0, 0.0, 1e-2f64.ln(), SHRINKAGE_SCALE.ln()];
        let start: Vec<f64> = middle
            .into_iter()
            .chain(std::iter::repeat_n(0.0, scales))
            .collect();
        let bounds: Vec<(f64, f64)> = start.iter().map(|t| (t - 8.0, t + 8.0)).collect();
        let negative = |point: &[f64], gradient: &mut [f64]| {
            let value = self.evaluate(point, gradient)?;
            gradient.iter_mut().for_each(|slope| *slope = -*slope);
            Some(-value)
        };
        minimise(negative, &start, &bounds, 1e-3, 80).map_or(start, |found| found.point)
    }
}

/// Standard deviation of a chain's start around the mode: at the mode itself the gradient vanishes, and the sampler
/// takes its first scales from the gradient.
const START_SPREAD: f64 = 0.3;

#[cfg(test)]
mod tests;
