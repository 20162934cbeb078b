use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};

use super::{DualGrads, DualOps, DualPlan, Inputs};
use crate::backends::second::{Like, Mailbox, second_output};

type F<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Scan;

impl<B: DualGrads> Backward<B, 8> for Scan {
    /// The inputs, the states between chunks.
    type State = ([NodeId; 8], FloatTensor<B>, DualPlan, Mailbox<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 8>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, saved, plan, mailbox) = ops.state;
        let inputs: Inputs<B> = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let wanted = nodes.map(|n| n.is_some());
        let found = B::dual_scan_grads(inputs, saved, grad, mailbox.take(), &plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

/// Keeps the inputs, and the states between chunks.
impl<B: DualGrads, C: CheckpointStrategy> DualOps for Autodiff<B, C> {
    fn dual_scan(
        x: F<B, C>,
        dt: F<B, C>,
        a_log: F<B, C>,
        b: F<B, C>,
        c: F<B, C>,
        skip: F<B, C>,
        bias: F<B, C>,
        initial: F<B, C>,
        plan: DualPlan,
    ) -> (F<B, C>, F<B, C>) {
        let inputs = [x, dt, a_log, b, c, skip, bias, initial];
        let guards = inputs.each_ref().map(F::<B, C>::node);
        match Scan.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let kept = inputs.each_ref().map(|x| prep.checkpoint(x));
                let inputs = inputs.map(F::<B, C>::into_primitive);
                let (y, last, saved) = B::dual_scan_saving(inputs, &plan);
                let (like, mailbox) = (Like::of(&y), Mailbox::<B>::default());
                let y = prep.finish((kept, saved, plan, mailbox.clone()), y);
                let last = second_output::<B, C>(&y, like, last, mailbox);
                (y, last)
            }
            OpsKind::UnTracked(prep) => {
                let [x, dt, a_log, b, c, skip, bias, initial] =
                    inputs.map(F::<B, C>::into_primitive);
                let (y, last) = B::dual_scan(x, dt, a_log, b, c, skip, bias, initial, plan);
                (prep.finish(y), F::<B, C>::new(last))
            }
        }
    }
}
