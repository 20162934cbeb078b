use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Int,
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta, kernels,
};

/// What low-rank adapters have in common besides their factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRank {
    /// Factor on the product: `α / r`, or `α / √r` when rank stabilised.
    pub scale: f64,
    /// Probability with which an input of `A` is dropped in training.
    pub dropout: f64,
    /// Key of the layer's dropout, a hash of its path: the same module drops alike in every process.
    pub dropout_key: u64,
    /// Learning rate of `B` over that of `A` (LoRA+,
    /// [2402.12354](https://arxiv.org/abs/2402.12354)).
    pub rate_of_b: f64,
}

impl LowRank {
    /// `x W + bias + s · x A B`, where the input of `A` may be dropped.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        a: Tensor<2>,
        b: Tensor<2>,
        base: &BaseLinear,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match context.dropout(self.dropout, self.dropout_key) {
            None => base.forward_low_rank(x, a, b, self.scale),
            Some(dropout) => {
                let dropped = kernels::dropout(x.clone(), dropout);
                // The scale goes on the narrow side, where it costs r multiplications a row.
                let low = kernels::linear(dropped, a, None).mul_scalar(self.scale);
                base.forward_plus(x, low, b)
            }
        }
    }

    /// Rows of `W + s · A B`, where `W` is a table and `A` has a row for each of its entries. As in PEFT, nothing
    /// is dropped.
    pub(crate) fn lookup(
        &self,
        ids: Tensor<1, Int>,
        table: Tensor<2>,
        a: Tensor<2>,
        b: Tensor<2>,
    ) -> Tensor<2> {
        let low = kernels::embedding(a, ids.clone()).mul_scalar(self.scale);
        let change = kernels::linear(low, b, None);
        kernels::embedding(table, ids).cast(change.dtype()) + change
    }

    pub(crate) fn learning_rate_factor(&self, field: &str) -> f64 {
        match field {
            "b" => self.rate_of_b,
            _ => 1.0,
        }
    }
}

/// A low-rank adapter: `W' = W + s · A B`.
///
/// In Burn's layout `W` is `[in, out]`, `A` is `[in, r]` and `B` is `[r, out]`: the transposes of
/// PEFT's `lora_A.weight` and `lora_B.weight`. With `B = 0` at the start the adapted layer computes
/// exactly what the base does.
#[derive(Module, Debug)]
pub struct Lora {
    /// Projection in, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// Projection out, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// A bias of the projection out, `[out]`, which is scaled with it (PEFT's `lora_bias`).
    pub bias: Option<Param<Tensor<1>>>,
    /// What does not change.
    #[module(skip)]
    pub rules: LowRank,
}

impl Lora {
    /// An adapter of these factors.
    pub fn new(a: Tensor<2>, b: Tensor<2>, rules: LowRank) -> Self {
        Self {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            bias: None,
            rules,
        }
    }

    /// The same with a bias of the projection out.
    #[must_use]
    pub fn with_bias(self, bias: Tensor<1>) -> Self {
        Self {
            bias: Some(Param::from_tensor(bias)),
            ..self
        }
    }

    /// What is added to every output.
    fn shift(&self) -> Option<Tensor<1>> {
        let bias = self.bias.as_ref()?;
        Some(bias.val().mul_scalar(self.rules.scale))
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }
}

impl WeightAdapter for Lora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.a.val(), self.b.val());
        let y = self.rules.forward(x, a, b, base, context);
        match self.shift() {
            None => y,
            Some(shift) => y + shift.unsqueeze::<2>(),
        }
    }

    fn lookup(&self, ids: Tensor<1, Int>, table: Tensor<2>, _: &AdapterContext) -> Tensor<2> {
        self.rules.lookup(ids, table, self.a.val(), self.b.val())
    }

    fn forward_transposed(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.b.val().transpose(), self.a.val().transpose());
        base.forward_low_rank(x, a, b, self.rules.scale)
    }

    fn implies_bias(&self) -> bool {
        self.bias.is_some()
    }

    fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        match self.shift() {
            None => bias,
            Some(shift) => {
                let dtype = bias.dtype();
                (bias.cast(shift.dtype()) + shift).cast(dtype)
            }
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let delta = self.a.val().mul_scalar(self.rules.scale);
        add_delta(weight, delta.matmul(self.b.val()))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        let cost = cost(self.rank(), self.rules.dropout, in_features, out_features);
        let bias = self.bias.as_ref().map_or(0, |_| out_features);
        Cost {
            parameters: cost.parameters + bias,
            ..cost
        }
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        self.rules.learning_rate_factor(field)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        if self.bias.is_some() {
            return None;
        }
        let (a, b) = (self.a.val(), self.b.val());
        Some(LowRankUpdate::new(a, b, self.rules.scale))
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
