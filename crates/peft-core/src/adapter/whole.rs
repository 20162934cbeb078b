use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_kernels::linear;

use super::{AdapterContext, BaseLinear, Cost, WeightAdapter};

/// What traversals call the container of [`Whole`]'s value.
pub(crate) const CONTAINER: &str = "Struct:Whole";

/// A parameter of an adapter's own instead of the model's: a head, or another module that is saved in
/// full, where several adapters share a model.
#[derive(Module, Debug)]
pub struct Whole {
    /// The value: a matrix as the model holds it, a vector as `[1, n]`.
    pub value: Param<Tensor<2>>,
}

impl Whole {
    /// A trained parameter.
    pub(crate) fn new(value: Tensor<2>) -> Self {
        Self {
            value: Param::from_tensor(value.detach()),
        }
    }
}

impl WeightAdapter for Whole {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        linear(x, self.value.val(), base.bias())
    }

    fn effective(&self, _: Tensor<2>) -> Tensor<2> {
        self.value.val()
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        Cost {
            parameters: in_features * out_features,
            flops_per_row: 2 * in_features * out_features,
            saved_per_row: in_features,
        }
    }
}
