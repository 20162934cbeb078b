use std::sync::Arc;

use burn::{
    Tensor,
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{
    AdapterChoice, AdapterContext, AdapterError, AdapterRoster, AdapterRows, kernels::RowLayout,
};

use crate::{
    DecoderConfig, Description, EncoderConfig, MambaConfig, ModelError, RopeConfig,
    ahead::Ahead,
    cache::Past,
    decoder::{Positions, RopeTable, RopeTables},
};

/// What a batch must keep to for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedInput {
    /// Tokens.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_length: usize,
    /// Position of a sequence's first token.
    pub first_position: usize,
    /// Segments; 0 where there are none.
    pub segments: usize,
    /// The token that pads: a sequence's last token is the last other one.
    pub pad_token: Option<u32>,
}

impl From<&EncoderConfig> for PackedInput {
    fn from(config: &EncoderConfig) -> Self {
        Self {
            vocab_size: config.vocab_size,
            max_length: config.max_length(),
            first_position: config.first_position,
            segments: config.type_vocab_size,
            pad_token: None,
        }
    }
}

impl From<&DecoderConfig> for PackedInput {
    fn from(config: &DecoderConfig) -> Self {
        Self {
            vocab_size: config.vocab_size,
            max_length: config.max_length(),
            first_position: 0,
            segments: 0,
            pad_token: config.pad_token,
        }
    }
}

impl From<&MambaConfig> for PackedInput {
    fn from(config: &MambaConfig) -> Self {
        Self {
            vocab_size: config.vocab_size,
            max_length: usize::MAX,
            first_position: 0,
            segments: 0,
            pad_token: None,
        }
    }
}

impl From<&Description> for PackedInput {
    fn from(description: &Description) -> Self {
        description.input
    }
}

/// Token sequences laid end to end, without padding.
#[derive(Debug, Clone)]
pub struct PackedBatch {
    pub(crate) ids: Tensor<1, Int>,
    pub(crate) type_ids: Option<Tensor<1, Int>>,
    pub(crate) positions: Tensor<1, Int>,
    /// Position of a sequence's first token, and how many positions there are.
    pub(crate) first_position: usize,
    pub(crate) most_positions: usize,
    pub(crate) rows: RowLayout,
    /// Of each sequence, the row that a score is read from.
    pub(crate) last: Arc<Vec<i32>>,
    pub(crate) ropes: RopeTables,
    pub(crate) adapters: Option<AdapterRows>,
    /// What the sequences go on from, if there is a cache.
    pub(crate) past: Option<Arc<Past>>,
    /// What was put before the sequences, once that is known.
    pub(crate) ahead: Option<Arc<Ahead>>,
}

impl PackedBatch {
    /// A batch of sequences: `starts[i]..starts[i + 1]` are the tokens of sequence `i`.
    ///
    /// # Errors
    /// If a sequence is empty or too long for the model, or a token or segment is not in its tables.
    pub fn new(
        input: impl Into<PackedInput>,
        ids: &[u32],
        type_ids: &[u32],
        starts: &[usize],
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::behind(input.into(), ids, type_ids, starts, &[], device)
    }

    /// A batch whose sequences come after so many tokens each; after none where nothing is said.
    pub(crate) fn behind(
        input: PackedInput,
        ids: &[u32],
        type_ids: &[u32],
        starts: &[usize],
        lengths: &[usize],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let fault = |row: usize, problem: String| ModelError::Batch { row, problem };
        if starts.len() < 2 || starts[0] != 0 || starts[starts.len() - 1] != ids.len() {
            return Err(fault(0, "the sequences do not cover the tokens".into()));
        }
        let typed = !type_ids.is_empty();
        if typed && type_ids.len() != ids.len() {
            return Err(fault(0, "there must be as many segments as tokens".into()));
        }
        let mut positions = Vec::with_capacity(ids.len());
        for (row, bounds) in starts.windows(2).enumerate() {
            let (start, end) = (bounds[0], bounds[1]);
            if end <= start || end > ids.len() {
                return Err(fault(row, "the sequence is empty".into()));
            }
            let before = lengths.get(row).copied().unwrap_or(0);
            let length = before + end - start;
            if length > input.max_length {
                let problem = format!(
                    "{length} tokens, but the model has positions for {}: use a smaller maximum length",
                    input.max_length
                );
                return Err(fault(row, problem));
            }
            if let Some(id) = ids[start..end]
                .iter()
                .find(|id| **id as usize >= input.vocab_size)
            {
                let problem = format!(
                    "token {id} is not among the model's {}: the tokenizer is another model's",
                    input.vocab_size
                );
                return Err(fault(row, problem));
            }
            positions.extend((before..length).map(|i| (input.first_position + i) as i64));
        }
        // A model with a single segment, as RoBERTa's, gives it to every token, whatever the tokenizer
        // says: its pairs are told apart by the tokens between them.
        let segments = match input.segments {
            1 => 0,
            more => more,
        };
        if let Some(at) = type_ids
            .iter()
            .position(|t| segments > 0 && *t as usize >= segments)
        {
            let row = starts.partition_point(|start| *start <= at) - 1;
            return Err(fault(
                row,
                format!("segment {} is not among {segments}", type_ids[at]),
            ));
        }
        let wide = |values: &[u32]| values.iter().map(|v| i64::from(*v)).collect::<Vec<_>>();
        let tensor = |values: Vec<i64>| {
            let shape = [values.len()];
            Tensor::<1, Int>::from_data(TensorData::new(values, shape), device)
        };
        Ok(Self {
            ids: tensor(wide(ids)),
            type_ids: (typed && segments > 0).then(|| tensor(wide(type_ids))),
            positions: tensor(positions),
            first_position: input.first_position,
            most_positions: input.max_length,
            rows: RowLayout::new(starts.to_vec(), device),
            last: Arc::new(last_rows(ids, starts, input.pad_token)),
            ropes: RopeTables::default(),
            adapters: None,
            past: None,
            ahead: None,
        })
    }

    /// The same batch, whose sequences pass through adapters of their own choice, heads included, in
    /// training as in inference. `roster` is that of the model.
    ///
    /// # Errors
    /// If there is not a choice for every sequence, or the model cannot do what is chosen: see
    /// [`AdapterRoster::rows`].
    pub fn with_adapters(
        self,
        roster: &AdapterRoster,
        choices: &[AdapterChoice],
    ) -> Result<Self, AdapterError> {
        let rows = roster.rows(choices, &self.rows, &self.ids.device())?;
        Ok(Self {
            adapters: Some(rows),
            ..self
        })
    }

    /// The context of activations of one row a token.
    pub(crate) fn of_tokens(&self, context: &AdapterContext) -> AdapterContext {
        match &self.adapters {
            Some(rows) => context.with_rows(rows.tokens.clone()),
            None => context.clone(),
        }
    }

    /// The context of activations of one row a sequence.
    pub(crate) fn of_sequences(&self, context: &AdapterContext) -> AdapterContext {
        match &self.adapters {
            Some(rows) => context.with_rows(rows.sequences.clone()),
            None => context.clone(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.ids.device()
    }

    /// The same batch for a model without gradients.
    pub(crate) fn without_autodiff(&self) -> Self {
        Self {
            ids: self.ids.clone().without_autodiff(),
            type_ids: self.type_ids.clone().map(Tensor::without_autodiff),
            positions: self.positions.clone().without_autodiff(),
            ahead: self.ahead_without_autodiff(),
            ..self.clone()
        }
    }

    /// Index of each sequence's last row that is no padding, `[n]`.
    pub(crate) fn last_rows(&self) -> Tensor<1, Int> {
        Tensor::from_ints(self.last.as_slice(), &self.ids.device())
    }

    /// The tables of a kind of rotary positions, made once for all blocks.
    pub(crate) fn rope(&self, config: &RopeConfig, dtype: FloatDType) -> RopeTable {
        let spans = self.rows.starts().windows(2).enumerate();
        let sequences: Vec<Positions> = spans
            .map(|(index, span)| {
                let count = span[1] - span[0];
                let (before, reach) = match &self.past {
                    Some(past) => (past.lengths()[index], past.reach_of(index)),
                    None => (0, self.rows.max_len()),
                };
                let ahead = self.ahead.as_ref();
                let positions = ahead.map_or(0, |ahead| ahead.positions[index]);
                let first = before + positions;
                Positions {
                    rows: first..first + count,
                    reach: reach + positions,
                }
            })
            .collect();
        self.ropes
            .get(config, &sequences, &self.ids.device(), dtype)
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The last row of each sequence whose token does not pad: HF's rule, by which a sequence of nothing but
/// padding is read at its first.
fn last_rows(ids: &[u32], starts: &[usize], pad: Option<u32>) -> Vec<i32> {
    let bounds = starts.windows(2).map(|bounds| (bounds[0], bounds[1]));
    let last = bounds.map(|(start, end)| match pad {
        None => end - 1,
        Some(pad) => {
            let row = ids[start..end].iter().rposition(|id| *id != pad);
            start + row.unwrap_or(0)
        }
    });
    last.map(|row| i32::try_from(row).unwrap_or(i32::MAX))
        .collect()
}
