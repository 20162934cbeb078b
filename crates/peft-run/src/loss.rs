//! The loss of a batch, and its gradients.

use burn::{
    Tensor,
    tensor::{Device, Gradients},
};
use peft_core::AdapterContext;
use peft_data::Dataset;
use peft_models::{Network, PackedBatch};
use peft_train::{GradientSet, Objective, Output, Targets, gradients};

use crate::{RunError, batch::pack, objective::expect_truth};

/// Rows of a data set as a model takes them, with what it should answer.
///
/// # Errors
/// If a row does not exist, or the labels are not those of the objective.
pub fn labelled_batch(
    model: &impl Network,
    data: &Dataset,
    rows: &[usize],
    objective: &dyn Objective,
    device: &Device,
) -> Result<(PackedBatch, Targets), RunError> {
    let batch = data.batch(rows)?;
    let targets = objective.targets(&expect_truth(&batch)?, device)?;
    Ok((pack(model, &batch, device)?, targets))
}

/// The loss of a batch and its gradients, with or without keeping what the blocks compute: see
/// [`Network::backward_recomputing`].
pub fn differentiate(
    model: &impl Network,
    batch: &PackedBatch,
    context: &AdapterContext,
    recompute: bool,
    loss: impl FnOnce(Output) -> Tensor<1>,
) -> (Tensor<1>, GradientSet) {
    let (value, passes) = if recompute {
        model.backward_recomputing(batch, context, loss)
    } else {
        let value = loss(model.run(batch, context));
        let grads = value.backward();
        (value, vec![grads])
    };
    (value, sum_of(model, passes))
}

/// [`differentiate`] from the block at a depth on, which reads `hidden`; nothing before it is trained.
pub(crate) fn differentiate_from(
    model: &impl Network,
    (depth, hidden): (usize, Tensor<2>),
    batch: &PackedBatch,
    context: &AdapterContext,
    loss: impl FnOnce(Output) -> Tensor<1>,
) -> (Tensor<1>, GradientSet) {
    let value = loss(model.run_from(depth, hidden, batch, context));
    let grads = value.backward();
    (value, sum_of(model, vec![grads]))
}

/// The gradients of all passes.
fn sum_of(model: &impl Network, passes: Vec<Gradients>) -> GradientSet {
    let mut total = GradientSet::default();
    for mut grads in passes {
        total.add(gradients(model, &mut grads));
    }
    total
}
