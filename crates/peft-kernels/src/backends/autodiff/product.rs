use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::KernelGrads;

/// `x`, if the weight wants a gradient, and the weight, if `x` does.
type Saved = (Option<NodeId>, Option<NodeId>);

/// Gradients to `x` and the weight; transposes are views.
pub fn factors<B: KernelGrads>(
    (x, weight): Saved,
    ids: [Option<NodeId>; 2],
    grad: FloatTensor<B>,
    grads: &mut Gradients,
    checkpointer: &mut Checkpointer,
) {
    let [to_x, to_weight] = ids;
    if let (Some(node), Some(weight)) = (to_x, weight) {
        let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
        let dx = B::product(grad.clone(), B::float_swap_dims(weight, 0, 1));
        grads.register::<B>(node, dx);
    }
    if let (Some(node), Some(x)) = (to_weight, x) {
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        grads.register::<B>(node, B::product(B::float_swap_dims(x, 0, 1), grad));
    }
}

#[derive(Debug)]
struct Product;

impl<B: KernelGrads> Backward<B, 2> for Product {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let ids = ops.parents.map(|p| p.map(|n| n.id));
        factors::<B>(ops.state, ids, grad, grads, checkpointer);
    }
}

/// Keeps what the wanted gradients need.
pub fn product<B: KernelGrads, C: CheckpointStrategy>(x: F<B, C>, weight: F<B, C>) -> F<B, C> {
    let tracked = (x.is_tracked(), weight.is_tracked());
    match Product
        .prepare::<C>([x.node(), weight.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let saved_x = tracked.1.then(|| prep.checkpoint(&x));
            let saved_weight = tracked.0.then(|| prep.checkpoint(&weight));
            let y = B::product(x.into_primitive(), weight.into_primitive());
            prep.finish((saved_x, saved_weight), y)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(B::product(x.into_primitive(), weight.into_primitive()))
        }
    }
}

#[derive(Debug)]
struct ProductBias;

impl<B: KernelGrads> Backward<B, 3> for ProductBias {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias] = ops.parents.map(|p| p.map(|n| n.id));
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(grad.clone()));
        }
        factors::<B>(ops.state, [to_x, to_weight], grad, grads, checkpointer);
    }
}

/// Keeps what the wanted gradients need; the bias needs nothing.
pub fn product_bias<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
) -> F<B, C> {
    let tracked = (x.is_tracked(), weight.is_tracked());
    let guards = [x.node(), weight.node(), bias.node()];
    let forward = |x: F<B, C>, weight: F<B, C>, bias: F<B, C>| {
        B::product_bias(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        )
    };
    match ProductBias.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let saved_x = tracked.1.then(|| prep.checkpoint(&x));
            let saved_weight = tracked.0.then(|| prep.checkpoint(&weight));
            prep.finish((saved_x, saved_weight), forward(x, weight, bias))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, weight, bias)),
    }
}
