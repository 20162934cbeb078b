use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::backends::second::{Like, Mailbox, second_output};
use crate::ops::{KernelGrads, ScanPlan};

#[derive(Debug)]
struct Scan;

impl<B: KernelGrads> Backward<B, 9> for Scan {
    /// The inputs, the states between chunks.
    type State = ([NodeId; 9], FloatTensor<B>, ScanPlan, Mailbox<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 9>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, saved, plan, mailbox) = ops.state;
        let inputs: [FloatTensor<B>; 9] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let last = mailbox.take();
        let wanted = nodes.map(|n| n.is_some());
        let found = B::selective_scan_grads(inputs, saved, grad, last, plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

/// Keeps the inputs, and the states between chunks.
pub fn scan<B: KernelGrads, C: CheckpointStrategy>(
    inputs: [F<B, C>; 9],
    plan: ScanPlan,
) -> (F<B, C>, F<B, C>) {
    let guards = inputs.each_ref().map(F::<B, C>::node);
    match Scan.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = inputs.each_ref().map(|x| prep.checkpoint(x));
            let inputs = inputs.map(F::<B, C>::into_primitive);
            let (y, last, saved) = B::selective_scan_saving(inputs, plan.clone());
            let mailbox = Mailbox::<B>::default();
            let like = Like::of(&y);
            let y = prep.finish((kept, saved, plan, mailbox.clone()), y);
            let last = second_output::<B, C>(&y, like, last, mailbox);
            (y, last)
        }
        OpsKind::UnTracked(prep) => {
            let [u, delta, a_log, b, c, skip, gate, bias, initial] =
                inputs.map(F::<B, C>::into_primitive);
            let (y, last) =
                B::selective_scan(u, delta, a_log, b, c, skip, gate, bias, initial, plan);
            (prep.finish(y), F::<B, C>::new(last))
        }
    }
}
