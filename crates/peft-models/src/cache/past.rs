use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::{Tensor, tensor::Device};
use peft_core::{
    KeyValues,
    kernels::{AttentionOptions, RowLayout},
};

use crate::parts::attend_to;

use super::{CachedRows, LayerCache, SequenceCache, SpaceState};

/// What the sequences of a batch go on from.
#[derive(Debug)]
pub struct Past {
    /// Rows before the batch's own, of each sequence.
    lengths: Vec<usize>,
    /// Rows of prompts before each sequence's tokens, in a cache or in this pass.
    prompts: Mutex<Vec<usize>>,
    /// The length whose rotary positions each sequence has in this pass.
    reach: Vec<usize>,
    sequences: Mutex<Vec<SequenceCache>>,
    /// Layouts of keys: those of blocks are alike, but for windows.
    layouts: Mutex<Vec<RowLayout>>,
    device: Device,
}

impl Past {
    /// Of sequences to which a batch adds so many tokens each.
    pub fn new(sequences: Vec<SequenceCache>, added: &[usize], device: &Device) -> Self {
        let reach = sequences.iter().zip(added);
        Self {
            lengths: sequences.iter().map(SequenceCache::rows).collect(),
            prompts: Mutex::new(sequences.iter().map(|sequence| sequence.prompt).collect()),
            reach: reach
                .map(|(s, added)| s.reach().max(s.len() + added))
                .collect(),
            sequences: Mutex::new(sequences),
            layouts: Mutex::default(),
            device: device.clone(),
        }
    }

    /// Rows of prompts that this pass puts before the tokens of sequences.
    pub fn set_prompts(&self, rows: Vec<usize>) {
        let mut prompts = self.prompts();
        for (index, rows) in rows.into_iter().enumerate().filter(|(_, rows)| *rows > 0) {
            prompts[index] = rows;
        }
    }

    fn prompts(&self) -> MutexGuard<'_, Vec<usize>> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows before the batch's own, of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The length whose rotary positions a sequence has, with its prompt.
    pub fn reach_of(&self, index: usize) -> usize {
        self.reach[index] + self.prompts()[index]
    }

    /// The sequences behind a pass over these rows.
    pub fn committed(&self, rows: &RowLayout) -> Vec<SequenceCache> {
        let mut sequences = std::mem::take(&mut *self.sequences());
        let prompts = self.prompts();
        let spans = rows
            .starts()
            .windows(2)
            .zip(prompts.iter().zip(&self.reach));
        for (sequence, (span, (prompt, reach))) in sequences.iter_mut().zip(spans) {
            let added = prompt - sequence.prompt;
            sequence.commit(span[1] - span[0], added, *reach);
        }
        sequences
    }

    /// The attention of the block at a depth to what it has seen and to the batch's own rows, which it has
    /// seen from now on.
    ///
    /// Rows are written where the batch's begin: a second pass over a batch does the same as the first.
    pub fn attend(
        &self,
        depth: usize,
        query: Tensor<2>,
        seen: KeyValues,
        rows: &RowLayout,
        options: &AttentionOptions,
    ) -> Tensor<2> {
        let KeyValues {
            keys,
            values,
            prefix,
        } = seen;
        let (mut parts, mut starts) = ([Vec::new(), Vec::new()], vec![0]);
        let mut sequences = self.sequences();
        for (index, span) in rows.starts().windows(2).enumerate() {
            let (start, count) = (span[0], span[1] - span[0]);
            let own = [&keys, &values].map(|part| part.clone().narrow(0, start, count));
            let (before, layers) = (self.lengths[index], &mut sequences[index].layers);
            let put = match layer(layers, depth).take() {
                Some(LayerCache::Rows(past)) if before > 0 => past.put(before, own),
                _ => CachedRows::new(own, options.window),
            };
            starts.push(starts[index] + put.count(before + count));
            for (parts, all) in parts.iter_mut().zip(put.get(before + count)) {
                parts.push(all);
            }
            *layer(layers, depth) = Some(LayerCache::Rows(put));
        }
        drop(sequences);
        if self.lengths.iter().all(|length| *length == 0) {
            // Nothing to be put together.
            let seen = KeyValues {
                keys,
                values,
                prefix,
            };
            return attend_to(query, seen, [rows, rows], options);
        }
        let [keys, values] = parts.map(|mut parts| match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 0),
        });
        let layout = self.layout(starts);
        let seen = KeyValues {
            keys,
            values,
            prefix,
        };
        attend_to(query, seen, [rows, &layout], options)
    }

    /// Where the state space at a depth goes on from, `[sequences, K − 1, D]` and `[sequences, D, N]`;
    /// `None` where no sequence has been there. One that has not starts from what `start` has of the two, or from zeros;
    /// states that it has not are zeros.
    pub fn states(
        &self,
        depth: usize,
        start: impl FnOnce() -> [Option<Tensor<2>>; 2],
    ) -> Option<[Tensor<3>; 2]> {
        let sequences = self.sequences();
        let known: Vec<Option<SpaceState>> = sequences
            .iter()
            .map(|sequence| match sequence.layers.get(depth) {
                Some(Some(LayerCache::Space { now, .. })) => now.clone(),
                _ => None,
            })
            .collect();
        let like = known.iter().flatten().next()?.clone();
        // What all that are under way start from, no one asks for.
        let [inputs, states] = match known.iter().all(Option::is_some) {
            true => [None, None],
            false => start(),
        };
        let zeros = like.states.zeros_like();
        let fresh = SpaceState {
            inputs: inputs.unwrap_or_else(|| like.inputs.zeros_like()),
            states: match states {
                Some(states) => {
                    let [channels, count] = states.dims();
                    zeros.slice_assign([0..channels, 0..count], states)
                }
                None => zeros,
            },
        };
        let all = known
            .into_iter()
            .map(|state| state.unwrap_or_else(|| fresh.clone()));
        let (inputs, states): (Vec<_>, Vec<_>) =
            all.map(|state| (state.inputs, state.states)).unzip();
        Some([Tensor::stack(inputs, 0), Tensor::stack(states, 0)])
    }

    /// Where it goes on from behind this pass.
    pub fn put_states(&self, depth: usize, inputs: Tensor<3>, states: Tensor<3>) {
        let mut sequences = self.sequences();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            let of = |all: &Tensor<3>| {
                let [_, rows, cols] = all.dims();
                all.clone().narrow(0, index, 1).reshape([rows, cols])
            };
            let place = layer(&mut sequence.layers, depth);
            let now = match place.take() {
                Some(LayerCache::Space { now, .. }) => now,
                _ => None,
            };
            let next = Some(SpaceState {
                inputs: of(&inputs),
                states: of(&states),
            });
            *place = Some(LayerCache::Space { now, next });
        }
    }

    fn layout(&self, starts: Vec<usize>) -> RowLayout {
        let mut known = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = known.iter().find(|layout| layout.starts() == starts) {
            return layout.clone();
        }
        let layout = RowLayout::new(starts, &self.device);
        known.push(layout.clone());
        layout
    }

    fn sequences(&self) -> MutexGuard<'_, Vec<SequenceCache>> {
        self.sequences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a depth.
fn layer(layers: &mut Vec<Option<LayerCache>>, depth: usize) -> &mut Option<LayerCache> {
    if layers.len() <= depth {
        layers.resize(depth + 1, None);
    }
    &mut layers[depth]
}
