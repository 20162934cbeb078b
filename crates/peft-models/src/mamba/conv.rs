use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext,
    kernels::{RowLayout, causal_conv1d, conv_state},
    nn::parameter,
};

/// A depthwise convolution over the rows of each sequence, which sees no later row:
/// `y[t, c] = Σₖ weight[c, 0, k] · x[t − K + 1 + k, c] + bias[c]`, rows before the first being zero, or those
/// that the sequence goes on from.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[channels, 1, K]`.
    pub weight: Param<Tensor<3>>,
    /// `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Conv1d {
    /// `[rows, channels] -> [rows, channels]`; `before` are the `K − 1` rows before each sequence's,
    /// `[sequences, K − 1, channels]`.
    pub fn forward(
        &self,
        x: Tensor<2>,
        before: Option<Tensor<3>>,
        rows: &RowLayout,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let weight = parameter(&self.weight, context);
        let [channels, _, kernel] = weight.dims();
        let bias = self.bias.as_ref().map(|bias| parameter(bias, context));
        causal_conv1d(x, weight.reshape([channels, kernel]), bias, before, rows)
    }

    /// The last `K − 1` rows of each sequence, those before its own among them,
    /// `[sequences, K − 1, channels]`.
    pub(crate) fn inputs(
        &self,
        x: Tensor<2>,
        before: Option<Tensor<3>>,
        rows: &RowLayout,
    ) -> Tensor<3> {
        conv_state(x, before, self.weight.val().dims()[2], rows)
    }
}
