//! What the first adapted block of a model reads, kept for other passes over the data and for other runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use peft_core::AdapterContext;
use peft_data::Batch;
use peft_models::{Before, Network, PackedBatch};

/// Rows of a product that is computed in another order of sums than those of more rows.
const FEW: usize = 4;

/// Which rows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Split {
    /// Those that are learned from.
    Fit,
    /// Those that choose the adapter.
    Select,
    /// Those that only report.
    Report,
}

impl Split {
    /// What events and errors call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fit => "training",
            Self::Select => "selection",
            Self::Report => "report",
        }
    }
}

/// Hidden states of the rows of a run, by depth: what the blocks below the first adapted one come to, which training does not
/// change. A row has the same bits whatever batch it comes in, so runs have, too.
#[derive(Debug)]
pub(crate) struct Features {
    /// Bytes that may be kept.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    rows: HashMap<(Split, usize, usize), Arc<[f32]>>,
}

impl Features {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes
    }

    /// The rows of a batch, if all of them are there.
    fn find(&self, depth: usize, split: Split, batch: &Batch) -> Option<Vec<f32>> {
        let found: Vec<Arc<[f32]>> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let row = |row: &usize| kept.rows.get(&(split, depth, *row)).cloned();
            batch.indices.iter().map(row).collect::<Option<_>>()?
        };
        Some(found.concat())
    }

    /// Keep the rows of a batch, as far as there is room.
    fn keep(&self, depth: usize, split: Split, batch: &Batch, hidden: TensorData) {
        let Ok(values) = hidden.as_slice::<f32>() else {
            return;
        };
        let width = values.len() / batch.tokens();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, bounds) in batch.indices.iter().zip(batch.row_starts.windows(2)) {
            let values = &values[bounds[0] * width..bounds[1] * width];
            let bytes = size_of_val(values);
            if kept.bytes + bytes > self.most {
                return;
            }
            if kept
                .rows
                .insert((split, depth, *row), values.into())
                .is_none()
            {
                kept.bytes += bytes;
            }
        }
    }
}

/// The hidden states of one of the splits of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeaturesOf<'a> {
    features: &'a Features,
    /// The depth of the first adapted block.
    depth: usize,
    split: Split,
}

impl<'a> FeaturesOf<'a> {
    /// Those below the first adapted block of a model, which must still tell what is trained.
    pub fn new(features: &'a Features, model: &impl Network, split: Split) -> Self {
        Self {
            features,
            depth: model.first_adapted(),
            split,
        }
    }

    /// What the first [adapted](Network::first_adapted) block reads of a batch, with its depth; none where that depends on more than
    /// the batch's rows, or is read at once.
    pub fn hidden(
        self,
        model: &impl Network,
        batch: &Batch,
        packed: &PackedBatch,
    ) -> Option<(usize, Tensor<2>)> {
        let Self {
            features,
            depth,
            split,
        } = self;
        let context = AdapterContext::inference();
        let tokens = batch.tokens();
        if depth == 0 || tokens <= FEW || model.before(&context) != Before::default() {
            return None;
        }
        let device = packed.device();
        if let Some(values) = features.find(depth, split, batch) {
            let width = values.len() / tokens;
            let values = TensorData::new(values, [tokens, width]);
            return Some((depth, Tensor::from_data(values, &device)));
        }
        let hidden = model.hidden(depth, packed, &context);
        if hidden.dtype() == DType::F32 {
            features.keep(depth, split, batch, hidden.clone().into_data());
        }
        let hidden = match device.is_autodiff() {
            true => Tensor::from_inner(hidden),
            false => hidden,
        };
        Some((depth, hidden))
    }
}
