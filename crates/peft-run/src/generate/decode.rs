//! Passes of the model over sequences that grow.

use std::ops::ControlFlow;

use burn::Tensor;
use peft_core::{AdapterChoice, AdapterContext, BASE, kernels::has_blocks};
use peft_models::{Network, Output, PackedBatch, SequenceCache};

use super::{Generator, sample, scores, sequence::Sequence};
use crate::RunError;

/// Rows of one pass: a longer prompt is read in parts.
const ROWS: usize = 512;

impl Generator<'_> {
    /// Let all sequences grow by one token, or read a further part of their prompts. `show` is told the text that
    /// a sequence came to have, and may end them all.
    pub(super) fn step(
        &self,
        sequences: &mut [&mut Sequence<'_>],
        show: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let mut room = ROWS;
        let (mut ids, mut starts, mut caches) = (Vec::new(), vec![0], Vec::new());
        // Sequences of which this pass reads the last token.
        let mut ready = Vec::new();
        for sequence in sequences.iter_mut() {
            let length = sequence.ids.len();
            if self.model.must_restart(&sequence.cache, length) || sequence.cache.is_empty() {
                sequence.cache = SequenceCache::reaching(length);
            }
            let from = sequence.cache.len();
            // Every sequence has a row at least, so that those that need no more go on.
            let count = sequence.due().min(room.max(1));
            room = room.saturating_sub(count);
            ids.extend_from_slice(&sequence.ids[from..from + count]);
            starts.push(ids.len());
            ready.push(from + count == length);
            caches.push(std::mem::take(&mut sequence.cache));
        }
        let input = self.model.description();
        let mut batch = PackedBatch::continuing(input, &ids, &starts, caches, self.device)?;
        let choices: Option<Vec<AdapterChoice>> = sequences
            .iter()
            .map(|sequence| sequence.choice.clone())
            .collect();
        if let (Some(choices), Some(roster)) = (choices, self.roster) {
            batch = batch.with_adapters(roster, &choices)?;
        }
        let pass = || match self.model.run(&batch, &AdapterContext::inference()) {
            Output::Tokens { hidden, head } => Some(host(head.logits(hidden))),
            _ => None,
        };
        let logits = match has_blocks(self.device) {
            // The CPU: on a thread of the pool, for handing it each of hundreds of small products would take longer than
            // many of them.
            true => rayon::scope(|_| pass()),
            // On a GPU each thread has a queue of its own.
            false => pass(),
        };
        let logits = logits.ok_or_else(super::no_language_head)?;
        let width = logits.len() / sequences.len();
        for (sequence, cache) in sequences.iter_mut().zip(batch.into_caches()) {
            sequence.cache = cache;
        }
        let rows = logits.chunks(width.max(1)).map(<[f32]>::to_vec);
        let mut broken = false;
        for ((sequence, mut row), ready) in sequences.iter_mut().zip(rows).zip(ready) {
            if !ready {
                continue;
            }
            let id = self.choose(sequence, &mut row)?;
            let text = sequence.push(id, &self.config)?;
            if show(sequence.number, &text).is_break() {
                broken = true;
                break;
            }
        }
        match broken {
            // Whoever wants no more text is shown none.
            true => self.interrupt(sequences, &mut |_, _| ControlFlow::Break(())),
            false => Ok(()),
        }
    }

    /// End all sequences that have not ended.
    pub(super) fn interrupt(
        &self,
        sequences: &mut [&mut Sequence<'_>],
        show: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        for sequence in sequences
            .iter_mut()
            .filter(|sequence| sequence.finish.is_none())
        {
            let text = sequence.interrupt()?;
            let _ = show(sequence.number, &text);
        }
        Ok(())
    }

    /// The next token of a sequence, by the scores of all.
    fn choose(&self, sequence: &Sequence<'_>, row: &mut [f32]) -> Result<u32, RunError> {
        if row
            .iter()
            .any(|score| score.is_nan() || *score == f32::INFINITY)
        {
            return Err(self.not_finite(sequence));
        }
        let (config, step) = (&self.config, sequence.generated());
        scores::process(row, &sequence.ids, step, config);
        let chosen = match config.do_sample {
            true => sample::drawn(row, config.seed, sequence.number as u64, step as u64),
            false => sample::first_highest(row),
        };
        // Every token may be forbidden by now: the first has the highest score of those.
        Ok(chosen.unwrap_or(0))
    }

    /// Why scores of a sequence are NaN or infinite: a pass that looks at what every block gives.
    fn not_finite(&self, sequence: &Sequence<'_>) -> RunError {
        let input = self.model.description();
        let starts = [0, sequence.ids.len()];
        let context = AdapterContext::inference();
        let place = |choice: Option<&AdapterChoice>| {
            let batch = PackedBatch::new(input, &sequence.ids, &[], &starts, self.device).ok()?;
            let batch = match (choice, self.roster) {
                (Some(choice), Some(roster)) => batch
                    .with_adapters(roster, std::slice::from_ref(choice))
                    .ok()?,
                _ => batch,
            };
            self.model.first_not_finite(&batch, &context)
        };
        let module = place(sequence.choice.as_ref()).unwrap_or_else(|| input.output().to_owned());
        let adapters = match &sequence.choice {
            Some(choice) if !choice.is_base() => format!(" with {choice}"),
            Some(_) => format!(" with {BASE}"),
            None => String::new(),
        };
        RunError::NextNotFinite {
            sequence: sequence.number,
            tokens: sequence.ids.len(),
            module,
            adapters,
        }
    }
}

fn host(logits: Tensor<2>) -> Vec<f32> {
    logits.into_data().iter::<f32>().collect()
}
