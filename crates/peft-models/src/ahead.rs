//! What comes before the tokens of a batch's sequences: rows of trained prompts, and the positions of trained prefixes.

use std::{borrow::Cow, sync::Arc};

use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use peft_core::{AdapterContext, AdapterRows, InputRows, KeyValues, Slot, kernels::RowLayout};

use crate::PackedBatch;

/// What an adapter puts before every sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    /// Rows of the input.
    pub rows: usize,
    /// Positions without rows.
    pub positions: usize,
}

impl Before {
    /// What the slots of a model hold: that of its input, and those of its attentions.
    pub(crate) fn of<'a>(
        prompt: &Slot<InputRows>,
        attentions: impl Iterator<Item = &'a Slot<KeyValues>>,
        context: &AdapterContext,
    ) -> Self {
        let positions = attentions.map(|slot| slot.positions_before(context));
        Self {
            rows: prompt.rows_before(context),
            positions: positions.max().unwrap_or(0),
        }
    }
}

/// What was put before the sequences of a batch.
#[derive(Debug)]
pub struct Ahead {
    /// Positions without rows, of each sequence.
    pub positions: Vec<usize>,
    /// Rows of prompts, if there are any.
    rows: Option<PromptRows>,
}

/// How rows of prompts lie among those of tokens.
#[derive(Debug)]
struct PromptRows {
    /// Of every row its place among the rows of all prompts, choice by choice, and the tokens' behind them.
    places: Tensor<1, Int>,
    /// The rows of tokens.
    tokens: Tensor<1, Int>,
    /// The choices of the rows of tokens.
    adapters: Option<AdapterRows>,
}

impl PackedBatch {
    /// The batch as the blocks see it. `before` tells what a context's choice puts before a sequence: rows only where the
    /// sequence begins in this batch, for a cache has them already.
    ///
    /// # Panics
    /// If a sequence comes to have more positions than the model's table.
    pub(crate) fn prepared(
        &self,
        context: &AdapterContext,
        before: impl Fn(&AdapterContext) -> Before,
    ) -> Cow<'_, Self> {
        if self.ahead.is_some() {
            return Cow::Borrowed(self);
        }
        let (contexts, of) = self.of_sequences(context).by_choice(self.len());
        let before: Vec<Before> = contexts.iter().map(before).collect();
        if before.iter().all(|one| *one == Before::default()) {
            return Cow::Borrowed(self);
        }
        let known = |sequence: usize| {
            self.past
                .as_ref()
                .map_or(0, |past| past.lengths()[sequence])
        };
        let rows = of
            .iter()
            .enumerate()
            .map(|(sequence, group)| match known(sequence) {
                0 => before[*group].rows,
                _ => 0,
            });
        let rows: Vec<usize> = rows.collect();
        let positions: Vec<usize> = of.iter().map(|group| before[*group].positions).collect();
        let (mut batch, rows) = match rows.iter().any(|count| *count > 0) {
            true => {
                let (batch, rows) = self.with_prompts(&rows, &of, &before);
                (batch, Some(rows))
            }
            false => (self.clone(), None),
        };
        batch.place(&positions);
        batch.ahead = Some(Arc::new(Ahead { positions, rows }));
        Cow::Owned(batch)
    }

    /// Put so many rows before those of each sequence: those of the group `of` each.
    fn with_prompts(&self, rows: &[usize], of: &[usize], before: &[Before]) -> (Self, PromptRows) {
        let device = self.ids.device();
        let list = |values: Vec<i64>| {
            let shape = [values.len()];
            Tensor::<1, Int>::from_data(TensorData::new(values, shape), &device)
        };
        let mut offsets = Vec::with_capacity(before.len());
        let mut all = 0;
        for one in before {
            offsets.push(all);
            all += one.rows;
        }
        let (mut places, mut tokens, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let (mut starts, mut last) = (vec![0], Vec::with_capacity(rows.len()));
        let mut added = 0;
        for (sequence, span) in self.rows.starts().windows(2).enumerate() {
            let offset = offsets[of[sequence]];
            places.extend((0..rows[sequence]).map(|row| (offset + row) as i64));
            types.extend((0..rows[sequence]).map(|_| 0));
            added += rows[sequence];
            for token in span[0]..span[1] {
                tokens.push((token + added) as i64);
                places.push((all + token) as i64);
                types.push(token as i64 + 1);
            }
            starts.push(span[1] + added);
            let shift = i32::try_from(added).unwrap_or(i32::MAX);
            last.push(self.last[sequence].saturating_add(shift));
        }
        let lengths: Vec<usize> = starts.windows(2).map(|span| span[1] - span[0]).collect();
        if let Some(past) = &self.past {
            past.set_prompts(rows.to_vec());
        }
        let type_ids = self.type_ids.clone().map(|ids| {
            // Rows of prompts are of the first segment.
            let first = Tensor::zeros([1], &device);
            Tensor::cat(vec![first, ids], 0).select(0, list(types))
        });
        let adapters = self.adapters.as_ref();
        let batch = Self {
            type_ids,
            rows: RowLayout::new(starts, &device),
            last: Arc::new(last),
            adapters: adapters.map(|rows| rows.with_lengths(&lengths, &device)),
            ..self.clone()
        };
        let rows = PromptRows {
            places: list(places),
            tokens: list(tokens),
            adapters: self.adapters.clone(),
        };
        (batch, rows)
    }

    /// Count positions behind so many without rows, of each sequence.
    fn place(&mut self, positions: &[usize]) {
        let mut all = Vec::with_capacity(self.rows.rows());
        for (sequence, span) in self.rows.starts().windows(2).enumerate() {
            let known = self
                .past
                .as_ref()
                .map_or(0, |past| past.lengths()[sequence]);
            let first = known + positions[sequence];
            let end = first + span[1] - span[0];
            assert!(
                end <= self.most_positions,
                "{end} positions with what comes before a sequence, but the model has {}: use a smaller maximum length",
                self.most_positions
            );
            all.extend((first..end).map(|position| (self.first_position + position) as i64));
        }
        let shape = [all.len()];
        let device = self.ids.device();
        self.positions = Tensor::from_data(TensorData::new(all, shape), &device);
        self.ropes = Default::default();
    }

    /// The rows of tokens, and before them those of the prompts that sequences choose, which `prompts` tells of each context.
    pub(crate) fn behind_prompts(
        &self,
        tokens: Tensor<2>,
        context: &AdapterContext,
        prompts: impl Fn(&AdapterContext) -> Option<Tensor<2>>,
    ) -> Tensor<2> {
        let Some(rows) = self.ahead.as_ref().and_then(|ahead| ahead.rows.as_ref()) else {
            return tokens;
        };
        let (contexts, _) = self.of_sequences(context).by_choice(self.len());
        let prompts = contexts.iter().filter_map(prompts);
        let mut all: Vec<Tensor<2>> = prompts.map(|rows| rows.cast(tokens.dtype())).collect();
        all.push(tokens);
        Tensor::cat(all, 0).select(0, rows.places.clone())
    }

    /// The rows of tokens among all, and their context.
    pub(crate) fn tokens_of(
        &self,
        hidden: Tensor<2>,
        context: &AdapterContext,
    ) -> (Tensor<2>, AdapterContext) {
        let Some(rows) = self.ahead.as_ref().and_then(|ahead| ahead.rows.as_ref()) else {
            return (hidden, self.of_tokens(context));
        };
        let context = match &rows.adapters {
            Some(adapters) => context.with_rows(adapters.tokens.clone()),
            None => context.clone(),
        };
        (hidden.select(0, rows.tokens.clone()), context)
    }

    /// Whether rows of prompts are among those of tokens.
    pub(crate) fn has_prompts(&self) -> bool {
        self.ahead
            .as_ref()
            .is_some_and(|ahead| ahead.rows.is_some())
    }

    /// The same for a model without gradients.
    pub(crate) fn ahead_without_autodiff(&self) -> Option<Arc<Ahead>> {
        let ahead = self.ahead.as_ref()?;
        let rows = ahead.rows.as_ref().map(|rows| PromptRows {
            places: rows.places.clone().without_autodiff(),
            tokens: rows.tokens.clone().without_autodiff(),
            adapters: rows.adapters.clone(),
        });
        Some(Arc::new(Ahead {
            positions: ahead.positions.clone(),
            rows,
        }))
    }
}
