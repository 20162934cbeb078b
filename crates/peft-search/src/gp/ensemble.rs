//! Several fits of one set of observations, taken together.

use super::fit::{FitSettings, fit};
use super::kernel::Rows;
use super::posterior::Gp;
use super::prior::{Prior, SAAS_SHRINKAGES};
use super::target::Target;
use crate::{Counter, SearchError};

/// A mixture of Gaussian processes with equal weights: one of a single fit, the members of a SAAS ensemble, or draws of
/// a SAAS model's hyper-parameters.
#[derive(Debug, Clone)]
pub struct Ensemble {
    members: Vec<Gp>,
}

impl Ensemble {
    /// One fit for each prior.
    ///
    /// # Errors
    ///
    /// [`SearchError::Fit`] of the first member that cannot be fitted.
    pub fn fit(
        rows: &Rows,
        outputs: &[f64],
        groups: &[usize],
        priors: &[Prior],
        floor: f64,
        settings: &FitSettings,
        counter: &mut Counter,
    ) -> Result<Self, SearchError> {
        let mut members = Vec::with_capacity(priors.len());
        for prior in priors {
            let target = Target::new(rows, outputs, groups, *prior, floor);
            members.push(fit(&target, settings, counter)?);
        }
        Ok(Self { members })
    }

    /// The priors of the SAAS ensemble: one for each of [`SAAS_SHRINKAGES`], an approximation of the average over
    /// `τ ~ HC(0.1)` that Hamiltonian Monte Carlo takes.
    pub fn saas() -> Vec<Prior> {
        SAAS_SHRINKAGES
            .map(|shrinkage| Prior::Saas { shrinkage })
            .to_vec()
    }

    /// A member for each draw of [`SaasDensity::sample`](super::SaasDensity::sample).
    ///
    /// # Errors
    ///
    /// Those of the draws, and [`SearchError::Fit`] of the first whose covariance has no Cholesky factor.
    #[cfg(feature = "nuts")]
    pub fn sample(
        rows: &Rows,
        outputs: &[f64],
        groups: &[usize],
        floor: f64,
        settings: &super::NutsSettings,
        counter: &mut Counter,
    ) -> Result<Self, SearchError> {
        let density = super::SaasDensity::new(rows, outputs, groups, floor);
        let draws = density.sample(settings, counter)?;
        let member = |point: &Vec<f64>| density.process(point);
        let members = draws.points.iter().map(member).collect::<Option<_>>();
        let members = members.ok_or_else(|| SearchError::Fit {
            rows: outputs.len(),
            reason: "its covariance has no Cholesky factor at a draw of its hyper-parameters"
                .into(),
        })?;
        Ok(Self { members })
    }

    /// The members.
    pub fn members(&self) -> &[Gp] {
        &self.members
    }

    /// Mean and variance of the mixture at rows of inputs: the mean of the means, and the mean of the variances plus
    /// the variance of the means.
    pub fn predict(&self, rows: &Rows) -> (Vec<f64>, Vec<f64>) {
        let each: Vec<_> = self
            .members
            .iter()
            .map(|member| member.predict(rows))
            .collect();
        let count = each.len() as f64;
        (0..rows.len())
            .map(|row| {
                let mean = each.iter().map(|p| p.mean[row]).sum::<f64>() / count;
                let spread = |p: &super::Posterior| p.variance[row] + (p.mean[row] - mean).powi(2);
                (mean, each.iter().map(spread).sum::<f64>() / count)
            })
            .unzip()
    }

    /// Mean over the members of `ρ = 1/ℓ²` of each group of columns: how much the output depends on it.
    pub fn precisions(&self) -> Vec<f64> {
        let scales = self.members[0].length_scales().len();
        let mean = |scale: usize| {
            let of = |member: &Gp| member.length_scales()[scale].powi(-2);
            self.members.iter().map(of).sum::<f64>() / self.members.len() as f64
        };
        (0..scales).map(mean).collect()
    }
}
