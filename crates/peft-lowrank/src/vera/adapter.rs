use std::sync::Arc;

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::FloatDType,
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, Fields, HostTensor, LowRankUpdate, WeightAdapter, add_delta,
    kernels,
};

use super::projections::Projections;

/// VeRA's adapter: two trained vectors between frozen random projections.
///
/// ```text
/// ΔW = diag(b) B diag(d) A        A [r, in], B [out, r] random, the same for all layers
/// ```
///
/// `b` starts at zero, so that a fresh adapter changes nothing. Of a layer's input only its projection
/// is kept for the backward pass.
#[derive(Module, Debug)]
pub struct Vera {
    /// `b`, `[out]`.
    pub lambda_b: Param<Tensor<1>>,
    /// `d`, `[r]`.
    pub lambda_d: Param<Tensor<1>>,
    /// Width of the input.
    #[module(skip)]
    pub in_features: usize,
    /// `A` and `B`.
    #[module(skip)]
    pub projections: Arc<Projections>,
    /// Whether files hold `A` and `B`.
    #[module(skip)]
    pub save_projection: bool,
    /// Probability with which an input is dropped in training.
    #[module(skip)]
    pub dropout: f64,
    /// Key of the layer's dropout, a hash of its path: the same module drops alike in every process.
    #[module(skip)]
    pub dropout_key: u64,
}

impl Vera {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.lambda_d.lazy_shape()[0]
    }

    /// `Aᵀ`, `d`, and `Bᵀ diag(b)`.
    fn factors(&self) -> (Tensor<2>, Tensor<1>, Tensor<2>) {
        let (b, d) = (self.lambda_b.val(), self.lambda_d.val());
        let widths = [self.in_features, b.dims()[0]];
        let dtype = FloatDType::from(b.dtype());
        let [down, up] = self.projections.of_layer(widths, dtype, &b.device());
        (down, d, up * b.unsqueeze::<2>())
    }
}

impl WeightAdapter for Vera {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (down, d, up) = self.factors();
        let dropped = match context.dropout(self.dropout, self.dropout_key) {
            None => x.clone(),
            Some(dropout) => kernels::dropout(x.clone(), dropout),
        };
        let low = kernels::linear(dropped, down, None) * d.unsqueeze::<2>();
        base.forward_plus(x, low, up)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let [a, b] = self.product();
        add_delta(weight, a.matmul(b))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), in_features, out_features)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let [a, b] = self.product();
        Some(LowRankUpdate::new(a, b, 1.0))
    }

    fn shared(&self) -> Fields<HostTensor> {
        match self.save_projection {
            true => self.projections.tensors(),
            false => Fields::new(),
        }
    }
}

impl Vera {
    /// `Aᵀ diag(d)` and `Bᵀ diag(b)`.
    fn product(&self) -> [Tensor<2>; 2] {
        let (down, d, up) = self.factors();
        [down * d.unsqueeze::<2>(), up]
    }
}

/// What a VeRA adapter costs.
pub(super) fn cost(r: usize, in_features: usize, out_features: usize) -> Cost {
    Cost {
        parameters: r + out_features,
        // Both products forward and to the input; of the gradients only the outer product.
        flops_per_row: 4 * r * in_features + 6 * r * out_features,
        // The projection, before and after `d`.
        saved_per_row: 2 * r,
    }
}
