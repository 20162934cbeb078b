//! How long a step takes.

use serde::Serialize;

use super::{calibrate::Rates, work::Work};

/// Values of the hidden width and of the feed-forward width that a forward pass of a block reads and
/// writes for a token, every product, norm, dropout and nonlinearity counted.
const HIDDEN_PASSES: usize = 26;
const WIDE_PASSES: usize = 4;

/// Operations of the attention for a pair of tokens and a value of the hidden width: two products
/// forward; five backward, scores being computed again.
const ATTENTION_FORWARD: f64 = 4.0;
const ATTENTION_BACKWARD: f64 = 10.0;

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
    /// Seconds of all steps, without evaluations; unknown where their number is.
    pub run_s: Option<f64>,
}

impl TimePlan {
    pub(super) fn of(work: &Work, trained: usize, rates: Rates, steps: Option<u64>) -> Self {
        let config = &work.config;
        let (tokens, pairs) = (
            work.mean.tokens as f64,
            work.mean.squares * config.hidden_size as f64,
        );
        let moved = HIDDEN_PASSES * config.hidden_size + WIDE_PASSES * config.intermediate_size;
        let forward_passes = if work.recompute { 2.0 } else { 1.0 };
        let (mut operations, mut values) = (0.0, 0.0);
        for block in &work.blocks {
            operations += forward_passes * (tokens * block.forward + ATTENTION_FORWARD * pairs);
            operations += tokens * block.backward;
            values += forward_passes * tokens * moved as f64;
            if block.tracked {
                operations += ATTENTION_BACKWARD * pairs;
                // Backward, a value and its gradient are read where forward one is.
                values += 2.0 * tokens * moved as f64;
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
