//! Fits: the best of several starts.

use super::minimise::minimise;
use super::posterior::Gp;
use super::target::{Target, Theta};
use crate::{Counter, SearchError};

/// How hard a fit tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitSettings {
    /// Starts: the first in the middle of the prior, the others random around it.
    pub starts: usize,
    /// Calls of the log-posterior for each start.
    pub calls: usize,
    /// Largest component of the gradient at which a start has arrived.
    pub tolerance: f64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            starts: 2,
            calls: 80,
            tolerance: 1e-3,
        }
    }
}

/// The Gaussian process at the largest log-posterior found, with no Jacobian of the logarithms (see
/// [`Prior`](super::Prior)). `counter` draws the random starts: the same counter gives the same fit.
///
/// # Errors
///
/// [`SearchError::Fit`] where there are no observations, one is not finite, or no start has a covariance with a
/// Cholesky factor.
pub fn fit(
    target: &Target<'_>,
    settings: &FitSettings,
    counter: &mut Counter,
) -> Result<Gp, SearchError> {
    let refuse = |reason: &str| SearchError::Fit {
        rows: target.outputs().len(),
        reason: reason.to_owned(),
    };
    if target.outputs().is_empty() {
        return Err(refuse("it needs at least one"));
    }
    if target.outputs().iter().any(|value| !value.is_finite()) {
        return Err(refuse("one is not a finite number"));
    }
    let scales = target.scales();
    let [mean, signal, noise, precision] = target.prior().ranges(scales);
    let ranges: Vec<_> = [mean, signal, noise]
        .into_iter()
        .chain(std::iter::repeat_n(precision, scales))
        .collect();
    let bounds: Vec<(f64, f64)> = ranges.iter().map(|range| (range.low, range.high)).collect();
    let mut best: Option<super::Minimum> = None;
    for start in 0..settings.starts.max(1) {
        let from: Vec<f64> = ranges
            .iter()
            .enumerate()
            .map(|(index, range)| match (start, index) {
                (0, _) | (_, 0) => range.start,
                _ => range.start + 1.5 * counter.normal(),
            })
            .collect();
        let negative = |point: &[f64], gradient: &mut [f64]| {
            let value = target.evaluate(
                &Theta {
                    values: point.to_vec(),
                },
                gradient,
            )?;
            gradient.iter_mut().for_each(|slope| *slope = -*slope);
            Some(-value)
        };
        let found = minimise(negative, &from, &bounds, settings.tolerance, settings.calls);
        if let Some(found) = found
            && best.as_ref().is_none_or(|best| found.value < best.value)
        {
            best = Some(found);
        }
    }
    let best = best.ok_or_else(|| refuse("its covariance has no Cholesky factor at any start"))?;
    let theta = Theta { values: best.point };
    Gp::new(target, theta)
        .ok_or_else(|| refuse("its covariance has no Cholesky factor at the best fit"))
}
