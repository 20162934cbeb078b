use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::backends::sine::{Sine, Wanted};
use crate::ops::KernelGrads;

/// Gradients of [`Sine`], of the bias, and of a weight that is trained: `dW = xᵀ dy`.
#[derive(Debug)]
struct SineProduct;

/// The inputs: `x`, weight, `a` and `b`.
#[derive(Debug, Clone)]
struct Saved {
    inputs: [NodeId; 4],
    frequency: f64,
    scale: f64,
}

impl<B: KernelGrads> Backward<B, 5> for SineProduct {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let [to_x, to_weight, to_bias, to_a, to_b] = ops.parents.map(|p| p.map(|n| n.id));
        if let Some(node) = to_bias {
            grads.register::<B>(node, B::column_sums(grad.clone()));
        }
        let Saved {
            inputs,
            frequency,
            scale,
        } = ops.state;
        let [x, weight, a, b] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let sine = Sine::<B> {
            x,
            weight,
            a,
            b,
            frequency,
            scale,
        };
        if let Some(node) = to_weight {
            let x = B::float_swap_dims(sine.x.clone(), 0, 1);
            grads.register::<B>(node, B::product(x, grad.clone()));
        }
        let wanted = Wanted {
            x: to_x.is_some(),
            factors: to_a.is_some() || to_b.is_some(),
        };
        let found = sine.backward(&grad, wanted);
        if let (Some(node), Some(dx)) = (to_x, found.x) {
            grads.register::<B>(node, dx);
        }
        if let Some([da, db]) = found.factors {
            for (node, grad) in [(to_a, da), (to_b, db)] {
                if let Some(node) = node {
                    grads.register::<B>(node, grad);
                }
            }
        }
    }
}

#[allow(clippy::too_many_arguments)] // The routing takes tensors one by one.
pub fn sine_product<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    a: F<B, C>,
    b: F<B, C>,
    frequency: f64,
    scale: f64,
) -> F<B, C> {
    let guards = [x.node(), weight.node(), bias.node(), a.node(), b.node()];
    let forward = |x: F<B, C>, weight: F<B, C>, bias: F<B, C>, a: F<B, C>, b: F<B, C>| {
        B::sine_product(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            a.into_primitive(),
            b.into_primitive(),
            frequency,
            scale,
        )
    };
    match SineProduct.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let saved = Saved {
                inputs: [&x, &weight, &a, &b].map(|input| prep.checkpoint(input)),
                frequency,
                scale,
            };
            prep.finish(saved, forward(x, weight, bias, a, b))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, weight, bias, a, b)),
    }
}
