//! Batches of the data as models take them.

use burn::tensor::Device;
use peft_data::Batch;
use peft_models::{ModelError, Network, PackedBatch};

/// A batch of the data as a model takes it.
///
/// # Errors
/// If a row does not fit the model.
pub fn pack(
    model: &impl Network,
    batch: &Batch,
    device: &Device,
) -> Result<PackedBatch, ModelError> {
    PackedBatch::new(
        model.description(),
        &batch.ids,
        &batch.type_ids,
        &batch.row_starts,
        device,
    )
}
