use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};
use peft_core::{
    AdapterChoice, AdapterContext, AdapterError, AdapterRoster, AdapterRows, kernels::RowLayout,
};

use crate::{EncoderConfig, ModelError};

/// Token sequences laid end to end, without padding.
#[derive(Debug, Clone)]
pub struct PackedBatch {
    pub(crate) ids: Tensor<1, Int>,
    pub(crate) type_ids: Option<Tensor<1, Int>>,
    pub(crate) positions: Tensor<1, Int>,
    pub(crate) rows: RowLayout,
    adapters: Option<AdapterRows>,
}

impl PackedBatch {
    /// A batch of sequences: `starts[i]..starts[i + 1]` are the tokens of sequence `i`.
    ///
    /// # Errors
    /// If a sequence is empty or too long for the model, or a token or segment is not in its tables.
    pub fn new(
        config: &EncoderConfig,
        ids: &[u32],
        type_ids: &[u32],
        starts: &[usize],
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
            if end - start > config.max_length() {
                let problem = format!(
                    "{} tokens, but the model has positions for {}: use a smaller --max-length",
                    end - start,
                    config.max_length()
                );
                return Err(fault(row, problem));
            }
            if let Some(id) = ids[start..end]
                .iter()
                .find(|id| **id as usize >= config.vocab_size)
            {
                let problem = format!(
                    "token {id} is not among the model's {}: the tokenizer is another model's",
                    config.vocab_size
                );
                return Err(fault(row, problem));
            }
            positions.extend((0..end - start).map(|i| (config.first_position + i) as i64));
        }
        let segments = config.type_vocab_size;
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
            rows: RowLayout::new(starts.to_vec(), device),
            adapters: None,
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

    /// The same batch for a model without gradients.
    pub(crate) fn without_autodiff(&self) -> Self {
        Self {
            ids: self.ids.clone().without_autodiff(),
            type_ids: self.type_ids.clone().map(Tensor::without_autodiff),
            positions: self.positions.clone().without_autodiff(),
            rows: self.rows.clone(),
            adapters: self.adapters.clone(),
        }
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
