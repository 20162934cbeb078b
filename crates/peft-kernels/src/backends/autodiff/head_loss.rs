use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::{HeadPlan, KernelGrads};

#[derive(Debug)]
struct HeadLoss;

impl<B: KernelGrads> Backward<B, 2> for HeadLoss {
    /// The gradients to the hidden rows and the weight, up to the factor from above.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let factor = grads.consume::<B>(&ops.node);
        let factor = B::float_reshape(factor, Shape::new([1, 1]));
        for (node, slopes) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(node), Some(slopes)) = (node, slopes) {
                grads.register::<B>(node.id, B::float_mul(slopes, factor.clone()));
            }
        }
    }
}

/// Keeps the gradients that will be asked for.
pub fn head_loss<B: KernelGrads, C: CheckpointStrategy>(
    hidden: F<B, C>,
    weight: F<B, C>,
    targets: IntTensor<B>,
    plan: HeadPlan,
) -> F<B, C> {
    let wanted = [hidden.is_tracked(), weight.is_tracked()];
    let guards = [hidden.node(), weight.node()];
    let (hidden, weight) = (hidden.into_primitive(), weight.into_primitive());
    match HeadLoss.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (loss, slopes) = B::head_loss_saving(hidden, weight, targets, plan, wanted);
            prep.finish(slopes, loss)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::head_loss(hidden, weight, targets, plan)),
    }
}
