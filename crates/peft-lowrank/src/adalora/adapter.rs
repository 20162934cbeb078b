use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, Int},
};
use peft_core::{AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta};

use crate::lora::LowRank;

/// Squares are not rooted below this, where the root has no derivative.
const SMALLEST_SQUARE: f64 = 1e-30;

/// An update in the form of a singular value decomposition
/// ([2303.10512](https://arxiv.org/abs/2303.10512)):
///
/// ```text
/// W' = W + s · A diag(e) B      s = α / (r + 1e-5)
/// ```
///
/// `W` is `[in, out]`, and `r` is the rank at the start, whatever is pruned later. `A` and `B` are kept
/// near orthogonality by a penalty on `‖AᵀA − I‖` and `‖BBᵀ − I‖` (Frobenius norms, not squared). With
/// `e = 0` at the start the adapted layer computes exactly what the base does.
///
/// A column of `A`, an entry of `e` and a row of `B` are a triplet. While ranks are shared out a pruned
/// triplet has `e = 0` and may come back; a file holds those that are kept.
#[derive(Module, Debug)]
pub struct AdaLora {
    /// Directions of the input, `[in, k]`.
    pub a: Param<Tensor<2>>,
    /// Singular values, `[k]`.
    pub e: Param<Tensor<1>>,
    /// Directions of the output, `[k, out]`.
    pub b: Param<Tensor<2>>,
    /// 1 for each of the `r` triplets that is kept, 0 for one that is pruned. The factors hold either
    /// all triplets or the kept ones.
    pub kept: Param<Tensor<1, Int>>,
    /// What does not change.
    #[module(skip)]
    pub rules: LowRank,
    /// Weight of the penalty.
    #[module(skip)]
    pub orthogonality: f64,
    /// Triplets that the factors hold.
    #[module(skip)]
    pub held: usize,
}

impl AdaLora {
    /// `‖G − I‖` of a matrix of products of directions.
    fn distance(products: Tensor<2>, device: &Device) -> Tensor<1> {
        let [size, _] = products.dims();
        let identity = Tensor::<2>::eye(size, device).cast(products.dtype());
        let square = (products - identity).powi_scalar(2).sum();
        square.clamp_min(SMALLEST_SQUARE).sqrt()
    }

    fn stretched(&self) -> Tensor<2> {
        self.b.val() * self.e.val().unsqueeze_dim::<2>(1)
    }
}

impl WeightAdapter for AdaLora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.a.val(), self.stretched());
        self.rules.forward(x, a, b, base, context)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let delta = self.a.val().mul_scalar(self.rules.scale);
        add_delta(weight, delta.matmul(self.stretched()))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.held, self.rules.dropout, in_features, out_features)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let (a, b) = (self.a.val(), self.stretched());
        Some(LowRankUpdate::new(a, b, self.rules.scale))
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        if self.orthogonality == 0.0 {
            return None;
        }
        let (a, b) = (self.a.val(), self.b.val());
        let device = a.device();
        let within_a = Self::distance(a.clone().transpose().matmul(a), &device);
        let within_b = Self::distance(b.clone().matmul(b.transpose()), &device);
        // The mean over the adapters makes it one over all factors.
        Some((within_a + within_b).mul_scalar(self.orthogonality / 2.0))
    }
}

/// What LoRA costs, and a singular value for each triplet.
pub(super) fn cost(held: usize, dropout: f64, in_features: usize, out_features: usize) -> Cost {
    let low = crate::lora::cost(held, dropout, in_features, out_features);
    Cost {
        parameters: low.parameters + held,
        ..low
    }
}
