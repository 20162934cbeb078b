use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta};

use crate::lora::{self, LowRank};

/// A low-rank adapter that starts elsewhere than at zero, and what it started from taken off again:
///
/// ```text
/// W' = W + s · (A B − A₀ B₀) = W + s · [A − A₀ | A₀] [B ; B − B₀]
/// ```
///
/// `A₀ [in, r]` and `B₀ [r, out]` are frozen. PiSSA ([2404.02948](https://arxiv.org/abs/2404.02948)) and
/// OLoRA ([2406.01775](https://arxiv.org/abs/2406.01775)) move `s · A₀ B₀` out of the base weight; here
/// the base is left as it is, and the adapter holds the difference. In the second form a fresh adapter
/// is exactly nothing, and one that has moved little is no difference of large products.
///
/// In a file it is LoRA of rank `2r`, `lora_A = [A ; A₀]` and `lora_B = [B | −B₀]`, which is what PEFT's
/// conversion makes of it (`path_initial_model_for_weight_conversion`).
#[derive(Module, Debug)]
pub struct OffsetLora {
    /// Projection in, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// Projection out, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// `A₀`, `[in, r]`.
    pub start_a: Param<Tensor<2>>,
    /// `−B₀`, `[r, out]`: the sign of files.
    pub start_b: Param<Tensor<2>>,
    /// What does not change.
    #[module(skip)]
    pub rules: LowRank,
}

impl OffsetLora {
    /// An adapter at its start.
    pub fn new(a: Tensor<2>, b: Tensor<2>, rules: LowRank) -> Self {
        let start = (a.clone(), b.clone().neg());
        Self::moved((a, b), start, rules)
    }

    /// An adapter `(A, B)` that started at `(A₀, B₀)`, given as `(A₀, −B₀)`.
    pub fn moved(
        (a, b): (Tensor<2>, Tensor<2>),
        (start_a, start_b): (Tensor<2>, Tensor<2>),
        rules: LowRank,
    ) -> Self {
        let frozen = |tensor| Param::from_tensor(tensor).set_require_grad(false);
        Self {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            start_a: frozen(start_a),
            start_b: frozen(start_b),
            rules,
        }
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }

    /// `[A − A₀ | A₀]` and `[B ; B − B₀]`.
    fn stacked(&self) -> [Tensor<2>; 2] {
        let (a, b) = (self.a.val(), self.b.val());
        let (start_a, start_b) = (self.start_a.val(), self.start_b.val());
        [
            Tensor::cat(vec![a - start_a.clone(), start_a], 1),
            Tensor::cat(vec![b.clone(), b + start_b], 0),
        ]
    }
}

impl WeightAdapter for OffsetLora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let [a, b] = self.stacked();
        self.rules.forward(x, a, b, base, context)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let [a, b] = self.stacked();
        add_delta(weight, a.mul_scalar(self.rules.scale).matmul(b))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), self.rules.dropout, in_features, out_features)
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        self.rules.learning_rate_factor(field)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let [a, b] = self.stacked();
        Some(LowRankUpdate::new(a, b, self.rules.scale))
    }
}

/// What LoRA of twice the rank costs, of which half is trained.
pub(crate) fn cost(rank: usize, dropout: f64, in_features: usize, out_features: usize) -> Cost {
    Cost {
        parameters: rank * (in_features + out_features),
        ..lora::cost(2 * rank, dropout, in_features, out_features)
    }
}
