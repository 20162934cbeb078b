use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta};

/// An adapter that may change every entry of its weight: `W' = W + D`.
///
/// For methods that choose entries by gradients that only exist in full. The weight stays as it is, and
/// both products are one pass. With `D = 0` the adapted layer computes exactly what the base does.
#[derive(Module, Debug)]
pub struct DenseDelta {
    /// The change `D`, `[in, out]`.
    pub delta: Param<Tensor<2>>,
}

impl DenseDelta {
    /// A trained change.
    pub fn new(delta: Tensor<2>) -> Self {
        Self {
            delta: Param::from_tensor(delta),
        }
    }
}

impl WeightAdapter for DenseDelta {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        base.forward_plus(x.clone(), x, self.delta.val())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        add_delta(weight, self.delta.val())
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        dense_cost([out_features, in_features])
    }
}

/// What a change of all entries costs.
pub(crate) fn dense_cost([out, inner]: [usize; 2]) -> Cost {
    Cost {
        parameters: out * inner,
        flops_per_row: 6 * out * inner,
        saved_per_row: 0,
    }
}
