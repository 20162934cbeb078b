use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta};

/// What square factors of this width have of the adapter's learning rate: all of it at rank 8.
pub(super) fn core_rate(width: usize) -> f64 {
    8.0 / width as f64
}

/// Deep LoRA, compressed: three small factors between two subspaces of the weight.
///
/// ```text
/// ΔW = L (M₃ M₂ M₁ − ε³ I) Rᵀ        M_l = ε I + N_l
/// ```
///
/// `L` `[out, r]` and `R` `[in, r]` start as orthonormal bases of the subspaces in which the
/// uncompressed network would be trained ([`gradient_bases`](crate::gradient_bases)), and the `N_l` at
/// zero. The paper (2406.04112) trains `M_l`; `N_l` has the same gradients, so every optimiser that does
/// not look at the values themselves takes the same steps.
///
/// **One deviation**: the paper's update starts at `ε³ L Rᵀ`, of spectral norm `ε³`,
/// and here that start is subtracted. A fresh adapter then changes no bit of the layer's output, the
/// update's gradients are what they were, and what the network learns is not rounded against its start.
///
/// The core's learning rate is the adapter's times `8 / r`. Adam moves all entries alike, and so the norm
/// of an `r × r` factor by `r` times as much: at one rate for all ranks, rank 64 breaks the model at the
/// rate that rank 8 needs. The paper does the same by hand, with 1e-4 at width 768 and 1e-2 at rank 8.
///
/// The core is folded once a step and the product is LoRA's, of rank `r`. In Burn's layout the fields
/// are transposed: `ΔWᵀ = R (M₁ᵀ M₂ᵀ M₃ᵀ − ε³ I) Lᵀ`.
#[derive(Module, Debug)]
pub struct DeepLora {
    /// `R`, `[in, r]`.
    pub right: Param<Tensor<2>>,
    /// `N₁ᵀ`, `[r, r]`.
    pub core1: Param<Tensor<2>>,
    /// `N₂ᵀ`, `[r, r]`.
    pub core2: Param<Tensor<2>>,
    /// `N₃ᵀ`, `[r, r]`.
    pub core3: Param<Tensor<2>>,
    /// `Lᵀ`, `[r, out]`.
    pub left: Param<Tensor<2>>,
    /// The start `ε` of the three factors.
    #[module(skip)]
    pub epsilon: f64,
    /// Learning rate of `L` and `R` as a share of the adapter's; 0 if they are not trained.
    #[module(skip)]
    pub outer_rate: f64,
}

impl DeepLora {
    /// An adapter of these factors, in the order of the fields, all in Burn's layout.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn new(
        right: Tensor<2>,
        cores: [Tensor<2>; 3],
        left: Tensor<2>,
        epsilon: f64,
        outer_rate: f64,
    ) -> Self {
        let [_, r] = right.dims();
        assert!(
            left.dims()[0] == r && cores.iter().all(|core| core.dims() == [r, r]),
            "factors of different ranks"
        );
        // A frozen factor needs no gradient, and without one the layer's input is not kept.
        let outer = |factor| Param::from_tensor(factor).set_require_grad(outer_rate > 0.0);
        let [core1, core2, core3] = cores.map(Param::from_tensor);
        Self {
            right: outer(right),
            core1,
            core2,
            core3,
            left: outer(left),
            epsilon,
            outer_rate,
        }
    }

    /// The rank `r`.
    pub fn rank(&self) -> usize {
        self.right.lazy_shape()[1]
    }

    /// `M₁ᵀ M₂ᵀ M₃ᵀ − ε³ I`, `[r, r]`, without the difference: zeros stay zeros, and small values small.
    pub fn core(&self) -> Tensor<2> {
        let (n1, n2, n3) = (self.core1.val(), self.core2.val(), self.core3.val());
        let epsilon = self.epsilon;
        // (ε + n₁)(ε + n₂) − ε²
        let inner = n1.clone().matmul(n2.clone()) + (n1 + n2).mul_scalar(epsilon);
        // (inner + ε²)(ε + n₃) − ε³
        inner.clone().matmul(n3.clone())
            + inner.mul_scalar(epsilon)
            + n3.mul_scalar(epsilon * epsilon)
    }

    /// The core and `Lᵀ` in one, `[r, out]`: LoRA's `B`.
    fn folded(&self) -> Tensor<2> {
        self.core().matmul(self.left.val())
    }
}

impl WeightAdapter for DeepLora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        base.forward_low_rank(x, self.right.val(), self.folded(), 1.0)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        add_delta(weight, self.right.val().matmul(self.folded()))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), self.outer_rate, in_features, out_features)
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        match field {
            "left" | "right" => self.outer_rate,
            _ => core_rate(self.rank()),
        }
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let (a, b) = (self.right.val(), self.folded());
        Some(LowRankUpdate::new(a, b, 1.0))
    }
}

/// What a compressed adapter costs.
pub(super) fn cost(r: usize, outer_rate: f64, in_features: usize, out_features: usize) -> Cost {
    let (core, outer) = (3 * r * r, r * (in_features + out_features));
    let trained = outer_rate > 0.0;
    Cost {
        parameters: if trained { core + outer } else { core },
        // Forward and backward as LoRA; a frozen R has no gradient.
        flops_per_row: 6 * outer - if trained { 0 } else { 2 * r * in_features },
        saved_per_row: r,
    }
}
