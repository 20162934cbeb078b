use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::RowUpdate;
use crate::ops::KernelGrads;

/// `y = x W + bias + Δ(x; a)`: `dx = dy Wᵀ + Δᵀ(dy; a)`, and `da` from what the update kept of `x`.
#[derive(Debug)]
struct Updated;

/// What the gradients asked for need, and nothing else.
#[derive(Debug, Clone)]
struct UpdatedSaved<B: KernelGrads> {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    coefficients: NodeId,
    kept: Option<FloatTensor<B>>,
    update: RowUpdate,
}

impl<B: KernelGrads> Backward<B, 4> for Updated {
    type State = UpdatedSaved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias, to_a] = ops.parents.map(|p| p.map(|n| n.id));
        let saved = ops.state;
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(dy.clone()));
        }
        let x: Option<FloatTensor<B>> = saved.x.map(|node| checkpointer.retrieve_node_output(node));
        if let (Some(node), Some(x)) = (to_weight, x.clone()) {
            let dw = B::product(B::float_swap_dims(x, 0, 1), dy.clone());
            grads.register::<B>(node, dw);
        }
        if to_x.is_none() && to_a.is_none() {
            return;
        }
        let weight: Option<FloatTensor<B>> = saved
            .weight
            .map(|node| checkpointer.retrieve_node_output(node));
        let a: FloatTensor<B> = checkpointer.retrieve_node_output(saved.coefficients);
        let kept = (saved.kept.or(x)).expect("an update keeps its own or the input");
        let (dx, da) = B::updated_product_grads(kept, dy, weight, a, &saved.update);
        if let (Some(node), Some(dx)) = (to_x, dx) {
            grads.register::<B>(node, dx);
        }
        if let Some(node) = to_a {
            grads.register::<B>(node, da);
        }
    }
}

pub fn updated_product<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    coefficients: F<B, C>,
    update: RowUpdate,
) -> F<B, C> {
    let (for_x, for_weight) = (x.is_tracked(), weight.is_tracked());
    let guards = [x.node(), weight.node(), bias.node(), coefficients.node()];
    match Updated.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let keeps_input = update.keeps_input();
            let x_node = (for_weight || keeps_input).then(|| prep.checkpoint(&x));
            let weight_node = for_x.then(|| prep.checkpoint(&weight));
            let coefficients_node = prep.checkpoint(&coefficients);
            let (y, kept) = B::updated_product_saving(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
                coefficients.into_primitive(),
                &update,
            );
            let saved = UpdatedSaved {
                x: x_node,
                weight: weight_node,
                coefficients: coefficients_node,
                kept: (!keeps_input).then_some(kept),
                update,
            };
            prep.finish(saved, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::updated_product(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            coefficients.into_primitive(),
            update,
        )),
    }
}
