//! Layers that know adapters.

use burn::{
    Tensor,
    module::{Module, Param},
};

use crate::{AdapterContext, BaseLinear, DynAdapter};

/// A linear layer `y = x W + b` whose weight may carry an adapter.
///
/// Unlike Burn's own, it takes the adapter's factored path: the adapted weight is never formed.
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight, `[in, out]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer of given parameters.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            bias: bias.map(Param::from_tensor),
        }
    }

    /// The product, `[rows, in] -> [rows, out]`.
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let bias = self.bias.as_ref().map(Param::val);
        match self.weight.reparameterization::<DynAdapter>() {
            Some(adapter) => {
                adapter.forward(x, &BaseLinear::new(self.weight.base(), bias), context)
            }
            // Any other reparameterization only knows the dense weight.
            None => BaseLinear::new(self.weight.val(), bias).forward(x),
        }
    }
}
