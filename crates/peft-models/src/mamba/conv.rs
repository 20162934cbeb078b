use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, kernels::causal_conv1d, nn::parameter};

use crate::PackedBatch;

/// A depthwise convolution over the rows of each sequence, which sees no later row:
/// `y[t, c] = Σₖ weight[c, 0, k] · x[t − K + 1 + k, c] + bias[c]`, rows before the first being zero.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[channels, 1, K]`.
    pub weight: Param<Tensor<3>>,
    /// `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Conv1d {
    /// `[rows, channels] -> [rows, channels]`.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let weight = parameter(&self.weight, context);
        let [channels, _, kernel] = weight.dims();
        let bias = self.bias.as_ref().map(|bias| parameter(bias, context));
        causal_conv1d(
            x,
            weight.reshape([channels, kernel]),
            bias,
            None,
            &batch.rows,
        )
    }
}
