use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use super::low_rank::turned;
use crate::ops::KernelGrads;

/// `y = x W + bias + q K B` with `q = x A`. With `h = dy Bᵀ` and `dq = h Kᵀ`: `dx = dy Wᵀ + dq Aᵀ`,
/// `dA = xᵀ dq`, `dK = qᵀ h`, `dB = (q K)ᵀ dy`.
#[derive(Debug)]
struct CoreProduct;

/// What the gradients asked for need, and nothing else.
#[derive(Debug, Clone)]
struct CoreSaved<B: KernelGrads> {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    a: Option<NodeId>,
    core: Option<NodeId>,
    b: Option<NodeId>,
    q: Option<FloatTensor<B>>,
    low: Option<FloatTensor<B>>,
}

impl<B: KernelGrads> Backward<B, 6> for CoreProduct {
    type State = CoreSaved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 6>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias, to_a, to_core, to_b] = ops.parents.map(|p| p.map(|n| n.id));
        let saved = ops.state;
        let mut get = |id: Option<NodeId>| -> Option<FloatTensor<B>> {
            id.map(|id| checkpointer.retrieve_node_output(id))
        };
        let (x, weight) = (get(saved.x), get(saved.weight));
        let (a, core, b) = (get(saved.a), get(saved.core), get(saved.b));
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(dy.clone()));
        }
        if let (Some(node), Some(low)) = (to_b, saved.low) {
            grads.register::<B>(node, B::product(turned::<B>(low), dy.clone()));
        }
        if let (Some(node), Some(x)) = (to_weight, x.clone()) {
            grads.register::<B>(node, B::product(turned::<B>(x), dy.clone()));
        }
        let Some(b) = b else {
            return;
        };
        let h = B::product(dy.clone(), turned::<B>(b));
        if let (Some(node), Some(q)) = (to_core, saved.q) {
            grads.register::<B>(node, B::product(turned::<B>(q), h.clone()));
        }
        let Some(core) = core else {
            return;
        };
        let dq = B::product(h, turned::<B>(core));
        if let (Some(node), Some(x)) = (to_a, x) {
            grads.register::<B>(node, B::product(turned::<B>(x), dq.clone()));
        }
        if let (Some(node), Some(weight), Some(a)) = (to_x, weight, a) {
            let dx = B::product_sum(dy, turned::<B>(weight), dq, turned::<B>(a));
            grads.register::<B>(node, dx);
        }
    }
}

pub fn core_product<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    a: F<B, C>,
    core: F<B, C>,
    b: F<B, C>,
) -> F<B, C> {
    let [for_x, for_weight, for_a] = [&x, &weight, &a].map(F::<B, C>::is_tracked);
    let [for_core, for_b] = [&core, &b].map(F::<B, C>::is_tracked);
    let guards = [
        x.node(),
        weight.node(),
        bias.node(),
        a.node(),
        core.node(),
        b.node(),
    ];
    let forward =
        |x: F<B, C>, weight: F<B, C>, bias: F<B, C>, a: F<B, C>, core: F<B, C>, b: F<B, C>| {
            let x = x.into_primitive();
            let q = B::product(x.clone(), a.into_primitive());
            let low = B::product(q.clone(), core.into_primitive());
            let (weight, bias) = (weight.into_primitive(), bias.into_primitive());
            let y = B::product_with_addend(x, weight, bias, low.clone(), b.into_primitive());
            (y, q, low)
        };
    match CoreProduct.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let mut saved = CoreSaved::<B> {
                x: (for_a || for_weight).then(|| prep.checkpoint(&x)),
                weight: for_x.then(|| prep.checkpoint(&weight)),
                a: for_x.then(|| prep.checkpoint(&a)),
                core: (for_x || for_a).then(|| prep.checkpoint(&core)),
                b: (for_x || for_a || for_core).then(|| prep.checkpoint(&b)),
                q: None,
                low: None,
            };
            let (y, q, low) = forward(x, weight, bias, a, core, b);
            saved.q = for_core.then_some(q);
            saved.low = for_b.then_some(low);
            prep.finish(saved, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, weight, bias, a, core, b).0),
    }
}
