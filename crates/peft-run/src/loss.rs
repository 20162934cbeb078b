//! What training minimises.

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData, activation::relu},
};
use peft_core::{AdapterContext, Output, kernels::cross_entropy};
use peft_data::Labels;
use peft_models::{Network, PackedBatch, SequenceModel};
use peft_train::{GradientSet, gradients};

use crate::RunError;

/// Labels on the device.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes, `[rows]`.
    Classes(Tensor<1, Int>),
    /// Numbers, `[rows, 1]`.
    Numbers(Tensor<2>),
    /// 1 for the labels that a row has, else 0, `[rows, labels]`.
    Labels(Tensor<2>),
}

/// Move a batch's labels to the device.
///
/// # Errors
/// If the batch has none.
pub fn targets(labels: &Labels, device: &Device) -> Result<Targets, RunError> {
    match labels {
        Labels::Classes(ids) => {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            let shape = [ids.len()];
            Ok(Targets::Classes(Tensor::from_data(
                TensorData::new(ids, shape),
                device,
            )))
        }
        Labels::Numbers(values) => {
            let data = TensorData::new(values.clone(), [values.len(), 1]);
            Ok(Targets::Numbers(Tensor::from_data(data, device)))
        }
        Labels::MultiHot { values, width } => {
            let data = TensorData::new(values.clone(), [labels.len(), *width]);
            Ok(Targets::Labels(Tensor::from_data(data, device)))
        }
        Labels::None => Err(RunError::setting(
            "data",
            "the rows have no labels",
            "name the column with --label-column",
        )),
    }
}

/// The mean loss of a batch: cross-entropy for classes, squared error for numbers, and for several
/// labels a row the binary cross-entropy of the outputs as logits, averaged over rows and labels.
pub fn loss(outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
    match targets {
        Targets::Classes(classes) => cross_entropy(outputs, classes),
        Targets::Numbers(values) => {
            let values = values.cast(outputs.dtype());
            (outputs - values).powi_scalar(2).mean()
        }
        Targets::Labels(values) => {
            let values = values.cast(outputs.dtype());
            // max(x, 0) - x z + ln(1 + exp(-|x|)) overflows for no x.
            let rest = outputs.clone().abs().neg().exp().log1p();
            (relu(outputs.clone()) - outputs * values + rest).mean()
        }
    }
}

/// The loss of a batch and its gradients, with or without keeping what the blocks compute: see
/// [`Network::backward_recomputing`].
pub fn differentiate(
    model: &SequenceModel,
    batch: &PackedBatch,
    context: &AdapterContext,
    recompute: bool,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> (Tensor<1>, GradientSet) {
    let (value, passes) = if recompute {
        model.backward_recomputing(batch, context, |output| {
            let Output::Scores(scores) = output else {
                unreachable!("an encoder scores sequences");
            };
            loss(scores)
        })
    } else {
        let value = loss(model.forward(batch, context));
        let grads = value.backward();
        (value, vec![grads])
    };
    let mut total = GradientSet::default();
    for mut grads in passes {
        total.add(gradients(model, &mut grads));
    }
    (value, total)
}
