//! Batches of sequences that go on.

use std::sync::Arc;

use burn::{Tensor, tensor::Device};
use peft_core::{AdapterContext, KeyValues, kernels::AttentionOptions};

use super::{Past, SequenceCache};
use crate::{ModelError, PackedBatch, PackedInput, parts};

impl PackedBatch {
    /// A batch of sequences that go on behind what caches hold: `starts[i]..starts[i + 1]` are the tokens that
    /// come after those of `caches[i]`. A pass over it predicts the token after the last of each sequence, and
    /// no other: its [output](crate::Output::Tokens) has a row a sequence. Then
    /// [`into_caches`](Self::into_caches) gives the caches with the batch's tokens in them.
    ///
    /// # Errors
    /// As [`new`](Self::new), where the length of a sequence is that with its tokens in the cache, and if there
    /// is not a cache for every sequence.
    pub fn continuing(
        input: impl Into<PackedInput>,
        ids: &[u32],
        starts: &[usize],
        caches: Vec<SequenceCache>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        if caches.len() + 1 != starts.len() {
            let problem = format!(
                "{} caches for {} sequences",
                caches.len(),
                starts.len().saturating_sub(1)
            );
            return Err(ModelError::Batch { row: 0, problem });
        }
        // A pad token that is fed to the model is a token like others.
        let input = PackedInput {
            pad_token: None,
            ..input.into()
        };
        let lengths: Vec<usize> = caches.iter().map(SequenceCache::rows).collect();
        let mut batch = Self::behind(input, ids, &[], starts, &lengths, device)?;
        let added: Vec<usize> = starts.windows(2).map(|span| span[1] - span[0]).collect();
        batch.past = Some(Arc::new(Past::new(caches, &added, device)));
        Ok(batch)
    }

    /// The caches of a batch that [continues](Self::continuing) them, behind its last pass; none of a batch
    /// without. A clone of the batch has no caches any more.
    pub fn into_caches(self) -> Vec<SequenceCache> {
        self.past
            .map(|past| past.committed(&self.rows))
            .unwrap_or_default()
    }

    /// The attention of the block at a depth.
    pub(crate) fn attend(
        &self,
        depth: usize,
        query: Tensor<2>,
        seen: KeyValues,
        options: &AttentionOptions,
    ) -> Tensor<2> {
        match &self.past {
            Some(past) => past.attend(depth, query, seen, &self.rows, options),
            None => parts::attend(query, seen, &self.rows, options),
        }
    }

    /// Where the state space at a depth goes on from: see [`Past::states`].
    pub(crate) fn states(
        &self,
        depth: usize,
        start: impl FnOnce() -> [Option<Tensor<2>>; 2],
    ) -> Option<[Tensor<3>; 2]> {
        self.past
            .as_ref()
            .and_then(|past| past.states(depth, start))
    }

    /// Keep where it goes on from behind this pass, if the batch keeps anything: the convolution's inputs and
    /// the states.
    pub(crate) fn put_states(&self, depth: usize, behind: impl FnOnce() -> [Tensor<3>; 2]) {
        if let Some(past) = &self.past {
            let [inputs, states] = behind();
            past.put_states(depth, inputs, states);
        }
    }

    /// The hidden rows that a head for tokens reads, and their context: all, but of a batch that continues
    /// sequences only the last of each.
    pub(crate) fn to_predict(
        &self,
        hidden: Tensor<2>,
        context: &AdapterContext,
    ) -> (Tensor<2>, AdapterContext) {
        match &self.past {
            Some(_) => {
                let last = hidden.select(0, self.last_rows());
                (last, self.of_sequences(context))
            }
            None => self.tokens_of(hidden, context),
        }
    }
}
