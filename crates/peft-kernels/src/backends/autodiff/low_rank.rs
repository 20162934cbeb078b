use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use super::product::factors;
use crate::ops::KernelGrads;

pub(super) fn turned<B: KernelGrads>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_swap_dims(x, 0, 1)
}

/// `y = x W + bias + s · x A B`. With `g = s · dy Bᵀ`: `dx = dy Wᵀ + g Aᵀ`, `dA = xᵀ g`,
/// `dB = (s · x A)ᵀ dy`.
#[derive(Debug)]
struct LowRank;

/// What the gradients asked for need, and nothing else.
#[derive(Debug, Clone)]
struct LowRankSaved<B: KernelGrads> {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    a: Option<NodeId>,
    b: Option<NodeId>,
    low: Option<FloatTensor<B>>,
    scale: f64,
}

impl<B: KernelGrads> Backward<B, 5> for LowRank {
    type State = LowRankSaved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias, to_a, to_b] = ops.parents.map(|p| p.map(|n| n.id));
        let saved = ops.state;
        let mut get = |id: Option<NodeId>| -> Option<FloatTensor<B>> {
            id.map(|id| checkpointer.retrieve_node_output(id))
        };
        let (x, weight, a, b) = (get(saved.x), get(saved.weight), get(saved.a), get(saved.b));
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(dy.clone()));
        }
        if let (Some(node), Some(low)) = (to_b, saved.low) {
            grads.register::<B>(node, B::product_scaled(turned::<B>(low), dy.clone(), 1.0));
        }
        if let (Some(node), Some(x)) = (to_weight, x.clone()) {
            grads.register::<B>(node, B::product_scaled(turned::<B>(x), dy.clone(), 1.0));
        }
        let Some(b) = b else {
            return;
        };
        let g = B::product_scaled(dy.clone(), turned::<B>(b), saved.scale);
        if let (Some(node), Some(x)) = (to_a, x) {
            grads.register::<B>(node, B::product_scaled(turned::<B>(x), g.clone(), 1.0));
        }
        if let (Some(node), Some(weight), Some(a)) = (to_x, weight, a) {
            let dx = B::product_sum(dy, turned::<B>(weight), g, turned::<B>(a));
            grads.register::<B>(node, dx);
        }
    }
}

pub fn low_rank_product<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    a: F<B, C>,
    b: F<B, C>,
    scale: f64,
) -> F<B, C> {
    let [for_x, for_weight, for_a, for_b] = [&x, &weight, &a, &b].map(F::<B, C>::is_tracked);
    let guards = [x.node(), weight.node(), bias.node(), a.node(), b.node()];
    match LowRank.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let mut saved = LowRankSaved::<B> {
                x: (for_a || for_weight).then(|| prep.checkpoint(&x)),
                weight: for_x.then(|| prep.checkpoint(&weight)),
                a: for_x.then(|| prep.checkpoint(&a)),
                b: (for_x || for_a).then(|| prep.checkpoint(&b)),
                low: None,
                scale,
            };
            let (y, low) = B::low_rank_saving(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
                a.into_primitive(),
                b.into_primitive(),
                scale,
            );
            saved.low = for_b.then_some(low);
            prep.finish(saved, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::low_rank_product(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            a.into_primitive(),
            b.into_primitive(),
            scale,
        )),
    }
}

/// `y = x W + bias + low · B`: `dx = dy Wᵀ`, `dlow = dy Bᵀ`, `dB = lowᵀ dy`.
#[derive(Debug)]
struct Addend;

#[derive(Debug, Clone)]
struct AddendSaved {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    low: Option<NodeId>,
    b: Option<NodeId>,
}

impl<B: KernelGrads> Backward<B, 5> for Addend {
    type State = AddendSaved;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias, to_low, to_b] = ops.parents.map(|p| p.map(|n| n.id));
        let saved = ops.state;
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(dy.clone()));
        }
        let wide = (saved.x, saved.weight);
        factors::<B>(wide, [to_x, to_weight], dy.clone(), grads, checkpointer);
        let narrow = (saved.low, saved.b);
        factors::<B>(narrow, [to_low, to_b], dy, grads, checkpointer);
    }
}

pub fn product_with_addend<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    low: F<B, C>,
    b: F<B, C>,
) -> F<B, C> {
    let [for_x, for_weight, for_low, for_b] = [&x, &weight, &low, &b].map(F::<B, C>::is_tracked);
    let guards = [x.node(), weight.node(), bias.node(), low.node(), b.node()];
    let forward = |x: F<B, C>, weight: F<B, C>, bias: F<B, C>, low: F<B, C>, b: F<B, C>| {
        B::product_with_addend(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            low.into_primitive(),
            b.into_primitive(),
        )
    };
    match Addend.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let saved = AddendSaved {
                x: for_weight.then(|| prep.checkpoint(&x)),
                weight: for_x.then(|| prep.checkpoint(&weight)),
                low: for_b.then(|| prep.checkpoint(&low)),
                b: for_low.then(|| prep.checkpoint(&b)),
            };
            prep.finish(saved, forward(x, weight, bias, low, b))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, weight, bias, low, b)),
    }
}
