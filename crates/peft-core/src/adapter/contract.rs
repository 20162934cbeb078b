use burn::{Tensor, module::Module, tensor::Int};
use peft_kernels::{
    RowUpdate, decoded, embedding, linear, linear_core, linear_low_rank, linear_plus,
    linear_updated,
};

use super::AdapterContext;
use crate::{Fields, HostTensor};

/// An adapter of one linear weight `W`.
///
/// Weights are in Burn's layout `[in, out]`; activations are rows × features. An adapter is a Burn
/// module: its parameters are found by optimisers, records and devices like any others.
///
/// The two views must agree: for every `x`, `forward(x, base)` equals
/// `x · effective(base.weight()) + effective_bias(base.bias())` up to rounding, in value and in gradient
/// (without dropout). The conformance suite holds every registered method to that.
pub trait WeightAdapter: Module + Sync + 'static {
    /// The product with the adapted weight, `[rows, in] -> [rows, out]`, without forming it.
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2>;

    /// The adapted weight itself, `[in, out] -> [in, out]`: for merging and for models that only
    /// know dense weights.
    fn effective(&self, weight: Tensor<2>) -> Tensor<2>;

    /// Whether the adapted layer has another bias than the base: an adapter that scales outputs scales it,
    /// too (IA3).
    fn implies_bias(&self) -> bool {
        false
    }

    /// The bias of the adapted layer, `[out] -> [out]`: another one only from an adapter that
    /// [says so](Self::implies_bias).
    fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        bias
    }

    /// Rows of the adapted weight, where it is a table `[entries, width]`: `ids [rows] -> [rows, width]`. Equal
    /// to the rows of [`effective`](Self::effective), which an adapter had better not form for them.
    fn lookup(&self, ids: Tensor<1, Int>, table: Tensor<2>, _: &AdapterContext) -> Tensor<2> {
        embedding(self.effective(decoded(table)), ids)
    }

    /// The product with the adapted weight read the other way round, `x · effective(W)ᵀ`,
    /// `[rows, out] -> [rows, in]`: the logits of a model whose head is its table of tokens. The weight of
    /// `base` is `Wᵀ`.
    fn forward_transposed(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let weight = self.effective(base.weight().transpose());
        linear(x, weight.transpose(), base.bias())
    }

    /// What [`forward`](Self::forward) adds to the plain product of a `[in, out]` weight.
    fn cost(&self, in_features: usize, out_features: usize) -> Cost;

    /// Factor on the learning rate of one of the adapter's fields: for fields of another scale than
    /// the rest (LoRA+, foreign normalisations of a transform).
    fn learning_rate_factor(&self, _field: &str) -> f64 {
        1.0
    }

    /// A penalty on the adapter's own parameters, `[1]` (AdaLoRA's orthogonality). Its mean over all
    /// adapters that have one is added to the loss. `None` from an adapter says that no adapter of its
    /// type and settings ever has one.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }

    /// The update as one product of narrow matrices, where it is one whatever the weight: what files of
    /// LoRA and DoRA can hold.
    fn low_rank(&self) -> Option<LowRankUpdate> {
        None
    }

    /// Whether what [`forward`](Self::forward) adds to the frozen product is the same whatever the
    /// weight, so that adapters may be summed: it is what remains of it on
    /// [`BaseLinear::without_weight`].
    fn is_additive(&self) -> bool {
        false
    }

    /// The name of the parameter that a trained field is a copy of, where adapters of a model share one:
    /// fields of equal names are one parameter, which starts and stays the same in all of them.
    fn tie(&self, _field: &str) -> Option<String> {
        None
    }

    /// Tensors that a file holds once for all adapters of a model, by name; all of its adapters give the
    /// same.
    fn shared(&self) -> Fields<HostTensor> {
        Fields::new()
    }
}

/// `weight + delta` in the type of `weight`: a half-precision weight is widened for the sum, which is
/// rounded once.
pub fn add_delta(weight: Tensor<2>, delta: Tensor<2>) -> Tensor<2> {
    let dtype = weight.dtype();
    (weight.cast(delta.dtype()) + delta).cast(dtype)
}

/// An update as the product of two narrow matrices: `effective(W) = W + scale · A B`.
#[derive(Debug, Clone)]
pub struct LowRankUpdate {
    /// `A`, `[in, r]`.
    pub a: Tensor<2>,
    /// `B`, `[r, out]`.
    pub b: Tensor<2>,
    /// What the product is multiplied with.
    pub scale: f64,
    /// The lengths that the columns of the sum are given, `[out]`, in DoRA; they stay as they are in LoRA.
    pub lengths: Option<Tensor<1>>,
}

impl LowRankUpdate {
    /// LoRA's.
    pub fn new(a: Tensor<2>, b: Tensor<2>, scale: f64) -> Self {
        Self {
            a,
            b,
            scale,
            lengths: None,
        }
    }
}

/// What an adapter costs on top of the frozen product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Trained values.
    pub parameters: usize,
    /// Floating-point operations a row, forward and backward together.
    pub flops_per_row: usize,
    /// Values a row kept for the backward pass beside the input.
    pub saved_per_row: usize,
}

/// The frozen linear layer that an adapter works on: `y = x W + b`.
#[derive(Debug, Clone)]
pub struct BaseLinear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    /// Whether the weight counts as zeros.
    nothing: bool,
}

impl BaseLinear {
    /// A layer of weight `[in, out]` and bias `[out]`.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight,
            bias,
            nothing: false,
        }
    }

    /// A layer of the same shape whose weight and bias are zeros, and are not multiplied with: on it an
    /// [additive](WeightAdapter::is_additive) adapter gives what it adds to any layer.
    pub fn without_weight(&self) -> Self {
        Self {
            weight: self.weight.clone(),
            bias: None,
            nothing: true,
        }
    }

    /// The weight in floats, `[in, out]`. One that the model keeps in quantised blocks is decoded for it: an adapter that can do
    /// with the products below saves the memory.
    pub fn weight(&self) -> Tensor<2> {
        match self.nothing {
            true => self.weight.zeros_like(),
            false => decoded(self.weight.clone()),
        }
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<Tensor<1>> {
        self.bias.clone()
    }

    /// The unadapted output `x W + b`, `[rows, in] -> [rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if self.nothing {
            let shape = [x.dims()[0], self.weight.dims()[1]];
            return Tensor::zeros(shape, (&x.device(), x.dtype()));
        }
        linear(x, self.weight.clone(), self.bias.clone())
    }

    /// The output with a low-rank companion, `x W + b + scale · x A B`, for `A [in, r]` and
    /// `B [r, out]`, in one pass where the backend has one.
    pub fn forward_low_rank(
        &self,
        x: Tensor<2>,
        a: Tensor<2>,
        b: Tensor<2>,
        scale: f64,
    ) -> Tensor<2> {
        if self.nothing {
            return linear(linear(x, a, None).mul_scalar(scale), b, None);
        }
        linear_low_rank(x, self.weight.clone(), self.bias.clone(), a, b, scale)
    }

    /// The output with a companion around a small core, `x W + b + x A K B`, for `A [in, q]`,
    /// `K [q, p]` and `B [p, out]`, in one pass where the backend has one.
    pub fn forward_core(
        &self,
        x: Tensor<2>,
        a: Tensor<2>,
        core: Tensor<2>,
        b: Tensor<2>,
    ) -> Tensor<2> {
        if self.nothing {
            return linear(linear(linear(x, a, None), core, None), b, None);
        }
        linear_core(x, self.weight.clone(), self.bias.clone(), a, core, b)
    }

    /// The output plus another product, `x W + b + low · B`, for `low [rows, r]` and `B [r, out]`.
    pub fn forward_plus(&self, x: Tensor<2>, low: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        if self.nothing {
            return linear(low, b, None);
        }
        linear_plus(x, self.weight.clone(), self.bias.clone(), low, b)
    }

    /// The output plus a change that is applied to rows on the host, `x W + b + Δ(x; a)`; `None`
    /// where the device has no body for it, or there is no weight.
    pub fn forward_updated(
        &self,
        x: &Tensor<2>,
        coefficients: Tensor<1>,
        update: &RowUpdate,
    ) -> Option<Tensor<2>> {
        if self.nothing {
            return None;
        }
        linear_updated(
            x,
            self.weight.clone(),
            self.bias.clone(),
            coefficients,
            update,
        )
    }
}
