use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, nn::parameter};

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
        let [rows, channels] = x.dims();
        let weight = parameter(&self.weight, context);
        let kernel = weight.dims()[2];
        let weight = weight.reshape([channels, kernel]).transpose();
        let positions = batch.positions.clone();
        let taps = (0..kernel.min(batch.rows.max_len())).map(|lag| {
            let tap = weight.clone().narrow(0, kernel - 1 - lag, 1);
            if lag == 0 {
                return x.clone() * tap;
            }
            // The rows `lag` before, but for those of the sequence before.
            let before = Tensor::zeros([lag, channels], (&x.device(), x.dtype()));
            let shifted = Tensor::cat(vec![before, x.clone().narrow(0, 0, rows - lag)], 0);
            let outside = positions.clone().lower_elem(lag as i64).reshape([rows, 1]);
            shifted.mask_fill(outside.expand([rows, channels]), 0.0) * tap
        });
        let sum = taps
            .reduce(|sum, tap| sum + tap)
            .unwrap_or_else(|| x.clone());
        match &self.bias {
            Some(bias) => sum + parameter(bias, context).reshape([1, channels]),
            None => sum,
        }
    }
}
