use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, kernels::rescale};

/// Factors on what a linear layer gives, `y = (x W + b) · l`, or on what it reads, `y = (x · l) W + b`.
///
/// With `l = 1` at the start the adapted layer computes exactly what the base does. The effective weight is `W` with its
/// columns or its rows scaled (in Burn's layout `[in, out]`), and the effective bias `b · l` where outputs are.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// `l`, `[out]` or `[in]`.
    pub factors: Param<Tensor<1>>,
    /// Whether they are on what the layer reads.
    #[module(skip)]
    pub on_inputs: bool,
}

impl WeightAdapter for Ia3 {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let factors = self.factors.val();
        match self.on_inputs {
            true => base.forward(rescale(x, None, factors)),
            false => rescale(base.forward(x), None, factors),
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let (dtype, factors) = (weight.dtype(), self.factors.val());
        let [count] = factors.dims();
        let shape = match self.on_inputs {
            true => [count, 1],
            false => [1, count],
        };
        (weight.cast(factors.dtype()) * factors.reshape(shape)).cast(dtype)
    }

    fn implies_bias(&self) -> bool {
        !self.on_inputs
    }

    fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        if self.on_inputs {
            return bias;
        }
        let (dtype, factors) = (bias.dtype(), self.factors.val());
        (bias.cast(factors.dtype()) * factors).cast(dtype)
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        let [count] = self.factors.lazy_shape().dims::<1>();
        cost(count)
    }
}

/// What so many factors cost.
pub fn cost(count: usize) -> Cost {
    Cost {
        parameters: count,
        // A product forward, and two backward.
        flops_per_row: 3 * count,
        // What is scaled, and what comes of it.
        saved_per_row: 2 * count,
    }
}
