//! Where memory goes.
//!
//! Three moments compete for the peak of a run: loading, when parts of the checkpoint are mapped beside what the model has
//! of it; the backward pass of the largest batch; an evaluation. What the
//! blocks keep follows from which of their products carry adapters; a handful of constants were
//! fitted to measured peaks of encoders. `cargo xtask plan-check` holds estimates against measurements, of decoders and
//! Mamba, too (`docs/runs/plan-memory.md`). The score matrices of MPNet and DeBERTa, which grow with the square of the
//! length, are not counted: of batches with long rows the estimates are too low there.

use serde::Serialize;

use super::{VALUE, work::Work};

/// Resident bytes of the process before any model: code, threads, allocator.
const PROCESS: usize = 34_000_000;

/// Bytes that the tokenizer takes for each entry of its vocabulary.
const VOCABULARY_ENTRY: usize = 215;

/// The most bytes of logits that a language head makes at a time.
const HEAD_BYTES: usize = 32 << 20;

/// Estimated resident memory of a run on the CPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// The largest of the three moments below.
    pub peak: usize,
    /// While the model is loaded.
    pub load: usize,
    /// In a training step with the largest batch.
    pub step: usize,
    /// In an evaluation.
    pub evaluation: usize,
    /// Of all three: the process, the tokenizer and the rows.
    pub process: usize,
    /// Of all three: the weights as they are kept.
    pub weights: usize,
    /// Of a step: what is kept for the backward pass, and what that needs on its way.
    pub activations: usize,
    /// Of a step: adapters, and the optimiser's state of all that is trained.
    pub trained: usize,
}

impl MemoryPlan {
    /// `eval_rows` is the number of rows that are evaluated together.
    pub(super) fn of(work: &Work, adapters: usize, head: usize, eval_rows: usize) -> Self {
        let process = PROCESS + VOCABULARY_ENTRY * work.vocabulary + work.rows;
        let bytes =
            |tokens: usize, values: usize| tokens.saturating_mul(values).saturating_mul(VALUE);
        // A language head makes logits of some tokens at a time, before anything goes backward.
        let logits = |tokens: usize| bytes(tokens, work.logits).min(HEAD_BYTES);
        let forward = bytes(work.largest.tokens, kept_before_loss(work));
        let loss = forward.saturating_add(2 * logits(work.largest.tokens));
        let activations = bytes(work.largest.tokens, kept(work)).max(loss);
        // Two moments of each trained value, and the values of adapters themselves.
        let trained = VALUE * (3 * adapters + 2 * head);
        // At its end a step holds the gradients, and the old values beside the new ones.
        let update = VALUE * 2 * (adapters + head);
        let always = process + work.weights + trained;
        let widest = work.blocks.iter().map(|block| block.evaluated).max();
        let widest = widest.unwrap_or(0);
        let rows = eval_rows.min(work.selection_rows);
        let tokens = rows.saturating_mul(work.longest);
        // What is measured of logits is there beside them, twice.
        let evaluated = bytes(tokens, widest).max(3 * logits(tokens));
        let load = process + work.loading;
        let step = always.saturating_add(activations.max(update));
        let evaluation = always.saturating_add(evaluated);
        Self {
            peak: load.max(step).max(evaluation),
            load,
            step,
            evaluation,
            process,
            weights: work.weights,
            activations,
            trained,
        }
    }
}

/// Values of a token that are in memory when the loss is made, before anything goes backward.
fn kept_before_loss(work: &Work) -> usize {
    let Some(last) = work.blocks.last() else {
        return 0;
    };
    match work.recompute && last.kept > 0 {
        // The inputs of all blocks and the output of the last.
        true => (work.blocks.len() + 1) * last.width,
        false => kept(work) - last.passing.min(kept(work)),
    }
}

/// Values of a token that are in memory at the worst moment of the backward pass.
fn kept(work: &Work) -> usize {
    let Some(last) = work.blocks.last() else {
        return 0;
    };
    if last.kept == 0 {
        // Nothing goes backward: a block's own values come and go.
        return last.passing;
    }
    if work.recompute {
        // The inputs of all blocks, one block, and the product that carries a gradient into it.
        return (work.blocks.len() + 2) * last.width + work.kept_alone + last.passing;
    }
    let blocks = work.blocks.iter();
    let kept = blocks.map(|b| b.kept + if b.keeps_input { b.width } else { 0 });
    kept.sum::<usize>() + last.passing
}
