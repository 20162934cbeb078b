//! One Markov chain on any smooth density.

use std::collections::HashMap;

use nuts_rs::rand::SeedableRng;
use nuts_rs::rand::rngs::ChaCha8Rng;
use nuts_rs::{Chain, CpuLogpFunc, CpuMath, CpuMathError, HasDims, LogpError, Settings};

use super::{Draws, NutsSettings};
use crate::Counter;

/// Where the density has no value: the sampler turns round there, as at a divergence.
#[derive(Debug, thiserror::Error)]
#[error("the density has no value")]
struct Outside;

impl LogpError for Outside {
    fn is_recoverable(&self) -> bool {
        true
    }
}

struct Density<F> {
    dimensions: usize,
    function: F,
}

impl<F> HasDims for Density<F> {
    fn dim_sizes(&self) -> HashMap<String, u64> {
        HashMap::from([("unconstrained_parameter".into(), self.dimensions as u64)])
    }
}

impl<F: FnMut(&[f64], &mut [f64]) -> Option<f64>> CpuLogpFunc for Density<F> {
    type LogpError = Outside;
    type FlowParameters = ();
    type ExpandedVector = Vec<f64>;

    fn dim(&self) -> usize {
        self.dimensions
    }

    fn logp(&mut self, position: &[f64], gradient: &mut [f64]) -> Result<f64, Outside> {
        (self.function)(position, gradient).ok_or(Outside)
    }

    fn expand_vector<R: nuts_rs::rand::Rng + ?Sized>(
        &mut self,
        _: &mut R,
        position: &[f64],
    ) -> Result<Vec<f64>, CpuMathError> {
        Ok(position.to_vec())
    }
}

/// Draws from a density by the No-U-Turn sampler with a low-rank mass matrix, from `start`.
///
/// `density` writes the gradient and returns the logarithm, or none where there is no value. Err says why there is no
/// chain: no value at the start, as a rule.
pub(super) fn draw(
    density: impl FnMut(&[f64], &mut [f64]) -> Option<f64>,
    start: &[f64],
    settings: &NutsSettings,
    counter: &mut Counter,
) -> Result<Draws, String> {
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(4) {
        word.copy_from_slice(&counter.bits().to_le_bytes());
    }
    let sampler = nuts_rs::LowRankNutsSettings {
        num_tune: settings.warmup as u64,
        num_draws: settings.draws as u64,
        maxdepth: settings.depth,
        ..Default::default()
    };
    let math = CpuMath::new(Density {
        dimensions: start.len(),
        function: density,
    });
    let mut chain = sampler
        .new_chain(0, math, &mut ChaCha8Rng::from_seed(seed))
        .map_err(|error| first_line(&error))?;
    chain
        .set_position(start)
        .map_err(|_| "its density has no value at the start".to_owned())?;
    let mut drawn = Draws {
        points: Vec::with_capacity(settings.draws / settings.thinning),
        divergences: 0,
        gradients: 0,
    };
    for index in 0..settings.warmup + settings.draws {
        let (point, progress) = chain.draw().map_err(|error| first_line(&error))?;
        drawn.gradients += progress.num_gradients;
        let Some(after) = (index + 1)
            .checked_sub(settings.warmup)
            .filter(|after| *after > 0)
        else {
            continue;
        };
        drawn.divergences += usize::from(progress.diverging);
        if after.is_multiple_of(settings.thinning) {
            drawn.points.push(point.into_vec());
        }
    }
    Ok(drawn)
}

/// An error's text without the backtraces that the sampler's errors may hold.
fn first_line(error: &impl std::fmt::Display) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
