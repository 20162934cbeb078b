use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta, kernels};

/// A low-rank adapter: `W' = W + s · A B`.
///
/// In Burn's layout `W` is `[in, out]`, `A` is `[in, r]` and `B` is `[r, out]`: the transposes of
/// PEFT's `lora_A.weight` and `lora_B.weight`. The scale `s` is `α / r`, or `α / √r` when rank
/// stabilised. With `B = 0` at the start the adapted layer computes exactly what the base does.
#[derive(Module, Debug)]
pub struct Lora {
    /// Projection in, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// Projection out, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// Factor on the product.
    #[module(skip)]
    pub scale: f64,
    /// Probability with which an input of `A` is dropped in training.
    #[module(skip)]
    pub dropout: f64,
    /// Hash of the layer's path: where its dropout is drawn from.
    #[module(skip)]
    pub place: u64,
}

impl Lora {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }
}

impl WeightAdapter for Lora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.a.val(), self.b.val());
        match context.dropout(self.dropout, self.place) {
            None => base.forward_low_rank(x, a, b, self.scale),
            Some(dropout) => {
                let dropped = kernels::dropout(x.clone(), dropout);
                // The scale goes on the narrow side, where it costs r multiplications a row.
                let low = kernels::linear(dropped, a, None).mul_scalar(self.scale);
                base.forward_plus(x, low, b)
            }
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let delta = self.a.val().mul_scalar(self.scale).matmul(self.b.val());
        add_delta(weight, delta)
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), self.dropout, in_features, out_features)
    }

    fn low_rank(&self) -> Option<[Tensor<2>; 2]> {
        Some([self.a.val(), self.b.val().mul_scalar(self.scale)])
    }
}

/// What a low-rank adapter costs.
pub(crate) fn cost(rank: usize, dropout: f64, in_features: usize, out_features: usize) -> Cost {
    Cost {
        parameters: rank * (in_features + out_features),
        flops_per_row: 6 * rank * (in_features + out_features),
        saved_per_row: rank + if dropout > 0.0 { in_features } else { 0 },
    }
}
