//! How long a step takes.

use serde::Serialize;

use super::{calibrate::Rates, work::Work};

/// Values moved for each trained one: gradient, norm, two moments in and out, old and new value.
const UPDATE_PASSES: usize = 8;

/// An estimate of the time of a step: `operations / rate + bytes / bandwidth`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimePlan {
    /// Floating-point operations of an optimiser step on average.
    pub operations: f64,
    /// Bytes that it reads and writes.
    pub bytes: f64,
    /// Seconds of a step on average.
    pub step_s: f64,
    /// Seconds of all steps, those of a warm-up among them, without evaluations; unknown where their number is.
    pub run_s: Option<f64>,
}

impl TimePlan {
    pub(super) fn of(work: &Work, trained: usize, rates: Rates, steps: Option<u64>) -> Self {
        let tokens = work.mean.tokens as f64;
        let forward_passes = if work.recompute { 2.0 } else { 1.0 };
        let (mut operations, mut values) = (0.0, 0.0);
        for block in &work.blocks {
            let attention = block.attention.map(|attention| {
                let pairs = attention.pairs(tokens, work.mean.squares);
                (attention.forward * pairs, attention.backward * pairs)
            });
            let (attend, pull_back) = attention.unwrap_or_default();
            operations += forward_passes * (tokens * block.forward + attend);
            operations += tokens * block.backward;
            values += forward_passes * tokens * block.moved as f64;
            if block.tracked {
                operations += pull_back;
                // Backward, a value and its gradient are read where forward one is.
                values += 2.0 * tokens * block.moved as f64;
            }
        }
        // Every pass over the blocks reads the weights once.
        let weights = work.weights as f64 * (forward_passes + 1.0);
        let parts = work.parts as f64;
        let operations = operations * parts;
        let bytes = (4.0 * values + weights) * parts + (4 * UPDATE_PASSES * trained) as f64;
        let step_s = operations / rates.operations_per_s + bytes / rates.bytes_per_s;
        Self {
            operations,
            bytes,
            step_s,
            run_s: steps.map(|steps| steps as f64 * step_s),
        }
    }
}
