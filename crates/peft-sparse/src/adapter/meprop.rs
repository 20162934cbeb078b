use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta,
    kernels::{self, TopGradient},
};

use super::dense_cost;

/// An adapter that may change every entry of its weight, and sees little of the gradient: meProp
/// ([1706.06197](https://arxiv.org/abs/1706.06197)).
///
/// ```text
/// y = x (W + D) + b      dx = top(dy) (W + D)ᵀ      dD = xᵀ top(dy)
/// ```
///
/// `top` keeps the largest values of each row of the output's gradient, or the columns that are largest
/// over all rows. What goes on to the layers below is not the loss's gradient, but meProp's for it.
#[derive(Module, Debug)]
pub struct MeProp {
    /// The change `D`, `[in, out]`.
    pub delta: Param<Tensor<2>>,
    /// What is kept of the output's gradient.
    #[module(skip)]
    pub rule: TopGradient,
}

impl MeProp {
    /// A trained change.
    pub fn new(delta: Tensor<2>, rule: TopGradient) -> Self {
        Self {
            delta: Param::from_tensor(delta),
            rule,
        }
    }
}

impl WeightAdapter for MeProp {
    /// # Panics
    /// If gradients are to be taken on another device than the CPU, which cannot cut them.
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        // The bias is frozen: that its gradient is cut, too, changes nothing.
        let y = base.forward_plus(x.clone(), x, self.delta.val());
        kernels::top_gradient(&y, self.rule).unwrap_or_else(|| {
            let trained = self.delta.val().is_require_grad();
            assert!(!trained, "meProp trains on the CPU only");
            y
        })
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        add_delta(weight, self.delta.val())
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        dense_cost([out_features, in_features])
    }
}
