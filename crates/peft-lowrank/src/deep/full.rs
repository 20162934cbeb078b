use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta};

use super::compressed::core_rate;

/// Deep LoRA as it is before it is compressed: three factors of full width.
///
/// ```text
/// ΔW = W₃ W₂ W₁ − S        W_l = ε · orthogonal at the start, S = their product there
/// ```
///
/// What [`DeepLora`](crate::DeepLora) is to be compared with: it has hundreds of times its parameters,
/// and at full width the factors are multiplied with each other rather than with activations, since that
/// is less work. The start `S` is subtracted so that a fresh adapter changes no bit of the model, and the
/// learning rate is the adapter's times `8 / w`.
#[derive(Module, Debug)]
pub struct DeepLoraFull {
    /// `W₁ᵀ`, `[in, w]`.
    pub w1: Param<Tensor<2>>,
    /// `W₂ᵀ`, `[w, w]`.
    pub w2: Param<Tensor<2>>,
    /// `W₃ᵀ`, `[w, out]`.
    pub w3: Param<Tensor<2>>,
    /// `Sᵀ`, `[in, out]`, never trained.
    pub start: Param<Tensor<2>>,
}

impl DeepLoraFull {
    /// A fresh adapter of these factors, in Burn's layout.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn new(factors: [Tensor<2>; 3]) -> Self {
        let start = product(factors.clone());
        Self::with_start(factors, start)
    }

    /// An adapter of these factors and the product that they started from, in Burn's layout.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn with_start(factors: [Tensor<2>; 3], start: Tensor<2>) -> Self {
        let [[inputs, width], [rows, columns], [inner, outputs]] =
            factors.each_ref().map(Tensor::dims);
        assert!(
            [rows, columns, inner] == [width; 3] && start.dims() == [inputs, outputs],
            "factors of different widths"
        );
        let [w1, w2, w3] = factors.map(Param::from_tensor);
        Self {
            w1,
            w2,
            w3,
            start: Param::from_tensor(start).set_require_grad(false),
        }
    }

    fn width(&self) -> usize {
        self.w2.lazy_shape()[0]
    }

    /// `ΔWᵀ`, `[in, out]`. The start is multiplied in the same order, so nothing is left of it.
    fn delta(&self) -> Tensor<2> {
        let factors = [&self.w1, &self.w2, &self.w3].map(Param::val);
        product(factors) - self.start.val()
    }
}

fn product([w1, w2, w3]: [Tensor<2>; 3]) -> Tensor<2> {
    w1.matmul(w2).matmul(w3)
}

impl WeightAdapter for DeepLoraFull {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        base.forward_plus(x.clone(), x, self.delta())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        add_delta(weight, self.delta())
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.width(), in_features, out_features)
    }

    fn learning_rate_factor(&self, _: &str) -> f64 {
        core_rate(self.width())
    }
}

/// What an uncompressed adapter costs.
pub(super) fn cost(width: usize, in_features: usize, out_features: usize) -> Cost {
    Cost {
        parameters: width * (in_features + width + out_features),
        // The dense update, forward and both ways backward; forming it does not depend on the rows.
        flops_per_row: 6 * in_features * out_features,
        saved_per_row: 0,
    }
}
