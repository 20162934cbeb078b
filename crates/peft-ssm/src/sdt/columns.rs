use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{IndexingUpdateOp, Int},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta};

/// A weight of which some inputs are trained, to the outputs from one on:
/// `W'[c, from..] = W[c, from..] + Θ[c]` for the chosen channels `c`, in Burn's layout `[in, out]`.
///
/// Of a Mamba block's `x_proj`, whose outputs are `R` of the step widths, `N` of `B` and `N` of `C`, these are the columns
/// `W_B[:, c]` and `W_C[:, c]` of the paper with `from = R`: the same as training a part of the projection split in three.
/// The backward pass keeps the chosen channels of the input, `[rows, count]`.
#[derive(Module, Debug)]
pub struct ChannelColumns {
    /// `Θ`, `[count, out − from]`
    pub weights: Param<Tensor<2>>,
    /// The channels, rising, `[count]`.
    pub channels: Param<Tensor<1, Int>>,
    /// The first output that is trained.
    #[module(skip)]
    pub from: usize,
}

impl ChannelColumns {
    /// `Θ` beside zeros for the outputs before the first, `[count, out]`.
    fn padded(&self) -> Tensor<2> {
        let weights = self.weights.val();
        if self.from == 0 {
            return weights;
        }
        let count = weights.dims()[0];
        let zeros = Tensor::zeros([count, self.from], (&weights.device(), weights.dtype()));
        Tensor::cat(vec![zeros, weights], 1)
    }
}

impl WeightAdapter for ChannelColumns {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let chosen = x.clone().select(1, self.channels.val());
        base.forward_plus(x, chosen, self.padded())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let rows = self.padded();
        let all = Tensor::zeros(weight.dims(), (&rows.device(), rows.dtype()));
        let delta = all.select_assign(0, self.channels.val(), rows, IndexingUpdateOp::Add);
        add_delta(weight, delta)
    }

    fn cost(&self, _: usize, out_features: usize) -> Cost {
        let [count, _] = self.weights.lazy_shape().dims::<2>();
        cost(count, out_features, self.from)
    }

    fn is_additive(&self) -> bool {
        true
    }
}

/// What so many channels of a weight with these outputs cost.
pub fn cost(count: usize, out_features: usize, from: usize) -> Cost {
    Cost {
        parameters: count * (out_features - from),
        flops_per_row: 6 * count * out_features,
        saved_per_row: count,
    }
}
