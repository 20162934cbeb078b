//! What a model keeps of sequences to go on from.

mod batch;
mod past;
mod rows;

use burn::Tensor;

pub(crate) use past::Past;
use rows::CachedRows;

/// What a model has computed of one sequence, for its next tokens: of each attention the keys and values
/// of all tokens so far, `[tokens, Hkv · D]` each, after the norms of heads, rotary positions and whatever
/// adapters do to them; of each state space the last inputs of its convolution, `[K − 1, D]`, and its
/// states, `[D, N]`.
///
/// A new one is of a sequence without tokens. [`PackedBatch::continuing`](crate::PackedBatch::continuing)
/// takes some, a pass over that batch extends them, and
/// [`into_caches`](crate::PackedBatch::into_caches) gives them back. Attentions with a sliding window keep
/// no more than twice the window. A clone shares everything until one of both goes on.
#[derive(Debug, Clone, Default)]
pub struct SequenceCache {
    /// Rows of a trained prompt before the tokens.
    prompt: usize,
    /// Tokens so far.
    length: usize,
    /// The least length whose rotary positions it has.
    reach: usize,
    /// By depth.
    layers: Vec<Option<LayerCache>>,
}

impl SequenceCache {
    /// Of a sequence of which nothing was computed, and which will have `length` tokens at least: rotary
    /// positions that depend on a sequence's length are those of this one from its first token on, however
    /// few tokens a pass takes at a time.
    pub fn reaching(length: usize) -> Self {
        Self {
            reach: length,
            ..Self::default()
        }
    }

    /// Tokens so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Rows so far: those of a prompt, and the tokens.
    pub(crate) fn rows(&self) -> usize {
        self.prompt + self.length
    }

    /// The length whose rotary positions the sequence's tokens have.
    pub fn reach(&self) -> usize {
        self.reach.max(self.length)
    }

    /// Forget all tokens but the first `length`; whether that can be done. It cannot where a state holds all
    /// tokens as one, or a window let go of what these tokens see: nothing is changed then.
    pub fn rewind(&mut self, length: usize) -> bool {
        if length >= self.length {
            return length == self.length;
        }
        let able = self.layers.iter().flatten().all(|layer| match layer {
            LayerCache::Rows(rows) => rows.reaches_back(self.prompt + length),
            LayerCache::Space { .. } => false,
        });
        if able {
            self.length = length;
        }
        able
    }

    /// Take over what a pass added: tokens, and so many rows of a prompt before the first of them.
    fn commit(&mut self, tokens: usize, prompt: usize, reach: usize) {
        self.prompt += prompt;
        (self.length, self.reach) = (self.length + tokens, reach);
        let length = self.rows();
        for layer in self.layers.iter_mut().flatten() {
            match layer {
                LayerCache::Rows(rows) => rows.trim(length),
                LayerCache::Space { now, next } => {
                    if let Some(next) = next.take() {
                        *now = Some(next);
                    }
                }
            }
        }
    }
}

/// What one block keeps of a sequence.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each block, and a tensor is a handle of some hundred bytes"
)]
#[derive(Debug, Clone)]
enum LayerCache {
    /// An attention.
    Rows(CachedRows),
    /// A state space: what it goes on from, and behind the pass that is under way.
    Space {
        now: Option<SpaceState>,
        next: Option<SpaceState>,
    },
}

/// Where a state space goes on from.
#[derive(Debug, Clone)]
pub(crate) struct SpaceState {
    /// The convolution's last inputs, `[K − 1, D]`.
    pub inputs: Tensor<2>,
    /// `[D, N]`
    pub states: Tensor<2>,
}
