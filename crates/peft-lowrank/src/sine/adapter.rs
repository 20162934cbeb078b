use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta, kernels};

/// A low-rank adapter below a sine ([2403.19243](https://arxiv.org/abs/2403.19243)):
///
/// ```text
/// W' = W + s · sin(ω · A B)      s = α / (r g)
/// ```
///
/// `W` is `[in, out]`, `A` is `[in, r]`, `B` is `[r, out]`, and the sine is that of every element. The
/// update has full rank, so it cannot be applied as two narrow products: on the CPU it is made for some
/// outputs at a time, forward and backward, and never as a whole. With `B = 0` at the start the adapted
/// layer computes exactly what the base does.
#[derive(Module, Debug)]
pub struct SineLora {
    /// Projection in, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// Projection out, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// The frequency `ω`.
    #[module(skip)]
    pub frequency: f64,
    /// The factor `s`.
    #[module(skip)]
    pub scale: f64,
}

impl SineLora {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }
}

impl WeightAdapter for SineLora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        kernels::linear_sine(
            x,
            base.weight(),
            base.bias(),
            self.a.val(),
            self.b.val(),
            self.frequency,
            self.scale,
        )
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let angles = self.a.val().mul_scalar(self.frequency).matmul(self.b.val());
        add_delta(weight, angles.sin().mul_scalar(self.scale))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        cost(self.rank(), in_features, out_features)
    }
}

/// What LoRA trains, and a row's share of the dense gradient. What does not depend on the rows is not
/// counted: `8 r` operations and three sines for each element of the weight.
pub(super) fn cost(rank: usize, in_features: usize, out_features: usize) -> Cost {
    Cost {
        parameters: rank * (in_features + out_features),
        flops_per_row: 2 * in_features * out_features,
        saved_per_row: 0,
    }
}
