use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{FloatDType, Int},
};
use peft_core::{AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, kernels};

use crate::lora::{self, LowRank};

/// Squared norms are not taken below this: a column of zeros has no direction, and stays one of zeros.
const SMALLEST_SQUARE: f64 = 1e-30;

/// A low-rank adapter of the directions of a weight's outputs, with their lengths trained beside it
/// ([2402.09353](https://arxiv.org/abs/2402.09353)):
///
/// ```text
/// V = W + s · A B      W' = V · diag(m / c)      c_j = ‖V_j‖
/// ```
///
/// `W` is `[in, out]`, and column `j` is all that leads to output `j`. The norms come from
/// `c_j² = ‖W_j‖² + 2 s B_j · (Aᵀ W)_j + s² B_j · (Aᵀ A B)_j`, so that neither `V` nor `A B` is formed.
/// With `B = 0` and `m = ‖W_j‖` at the start the adapted layer computes exactly what the base does.
///
/// With dropout only what goes into `A` is dropped; PEFT drops the base's input as well, for which it
/// multiplies by `W` a second time.
#[derive(Module, Debug)]
pub struct Dora {
    /// Projection in, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// Projection out, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// Lengths of the weight's columns, `[out]`.
    pub magnitude: Param<Tensor<1>>,
    /// What does not change.
    #[module(skip)]
    pub rules: LowRank,
    /// Whether the norms count as constants in the gradient, as the paper proposes and PEFT does.
    #[module(skip)]
    pub detach_norm: bool,
}

impl Dora {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }

    /// `m / c` of a weight, `[out]`.
    fn factor(&self, weight: &Tensor<2>) -> Tensor<1> {
        let (mut a, mut b) = (self.a.val(), self.b.val());
        if self.detach_norm {
            (a, b) = (a.detach(), b.detach());
        }
        let scale = self.rules.scale;
        let own = column_norms_squared(weight, FloatDType::from(b.dtype()));
        let [columns] = own.dims();
        let across = kernels::linear(a.clone().transpose(), weight.clone(), None);
        let gram = a.clone().transpose().matmul(a);
        let inner = across.mul_scalar(2.0) + gram.matmul(b.clone()).mul_scalar(scale);
        let change = (b * inner).sum_dim(0).reshape([columns]).mul_scalar(scale);
        let norm = (own + change).clamp_min(SMALLEST_SQUARE).sqrt();
        self.magnitude.val() / norm
    }
}

/// The lengths that the columns of a weight have, `[out]`, in a type.
pub(crate) fn column_norms(weight: &Tensor<2>, dtype: FloatDType) -> Tensor<1> {
    // As in `factor`, so that a fresh adapter's factors are exactly 1.
    let squares = column_norms_squared(weight, dtype);
    squares.clamp_min(SMALLEST_SQUARE).sqrt()
}

fn column_norms_squared(weight: &Tensor<2>, dtype: FloatDType) -> Tensor<1> {
    kernels::squared_column_norms(weight).cast(dtype)
}

impl WeightAdapter for Dora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let factor = self.factor(&base.weight());
        let (a, b) = (self.a.val(), self.b.val());
        let y = self.rules.forward(x, a, b, base, context);
        kernels::rescale(y, base.bias(), factor)
    }

    fn lookup(&self, ids: Tensor<1, Int>, table: Tensor<2>, _: &AdapterContext) -> Tensor<2> {
        let factor = self.factor(&kernels::decoded(table.clone()));
        let rows = self.rules.lookup(ids, table, self.a.val(), self.b.val());
        rows * factor.unsqueeze::<2>()
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let dtype = weight.dtype();
        let factor = self.factor(&weight);
        let delta = self.a.val().matmul(self.b.val());
        let directions = weight.cast(delta.dtype()) + delta.mul_scalar(self.rules.scale);
        (directions * factor.unsqueeze::<2>()).cast(dtype)
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), self.rules.dropout, in_features, out_features)
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        self.rules.learning_rate_factor(field)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let (a, b) = (self.a.val(), self.b.val());
        Some(LowRankUpdate {
            lengths: Some(self.magnitude.val()),
            ..LowRankUpdate::new(a, b, self.rules.scale)
        })
    }
}

/// What LoRA costs, a length for each output, and the output itself, from which the lengths' gradients
/// are taken.
pub(crate) fn cost(rank: usize, dropout: f64, in_features: usize, out_features: usize) -> Cost {
    let low = lora::cost(rank, dropout, in_features, out_features);
    Cost {
        parameters: low.parameters + out_features,
        flops_per_row: low.flops_per_row + 6 * out_features,
        saved_per_row: low.saved_per_row + out_features,
    }
}
