use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};

use super::{Inputs, ScanGrads, ScanOps, ScanPlan};
use crate::backends::second::{Like, Mailbox, second_output};

type F<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Scan;

/// The inputs, and the states between chunks.
#[derive(Debug, Clone)]
struct Kept<B: ScanGrads> {
    inputs: [NodeId; 9],
    saved: FloatTensor<B>,
    table: IntTensor<B>,
    plan: ScanPlan,
    mailbox: Mailbox<B>,
}

impl<B: ScanGrads> Backward<B, 9> for Scan {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 9>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let kept = ops.state;
        let retrieve = |id| checkpointer.retrieve_node_output(id);
        let inputs: Inputs<B> = kept.inputs.map(retrieve);
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let last = kept.mailbox.take();
        let wanted = nodes.map(|n| n.is_some());
        let (saved, table, plan) = (kept.saved, kept.table, &kept.plan);
        let found = B::selective_scan_grads(inputs, saved, grad, last, table, plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

impl<B: ScanGrads, C: CheckpointStrategy> ScanOps for Autodiff<B, C> {
    fn selective_scan(
        u: F<B, C>,
        delta: F<B, C>,
        a_log: F<B, C>,
        b: F<B, C>,
        c: F<B, C>,
        skip: F<B, C>,
        gate: F<B, C>,
        bias: F<B, C>,
        initial: F<B, C>,
        table: IntTensor<Self>,
        plan: ScanPlan,
    ) -> (F<B, C>, F<B, C>) {
        let inputs = [u, delta, a_log, b, c, skip, gate, bias, initial];
        let guards = inputs.each_ref().map(F::<B, C>::node);
        match Scan.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let kept = inputs.each_ref().map(|x| prep.checkpoint(x));
                let inputs = inputs.map(F::<B, C>::into_primitive);
                let (y, last, saved) = B::selective_scan_saving(inputs, table.clone(), &plan);
                let (like, mailbox) = (Like::of(&y), Mailbox::<B>::default());
                let kept = Kept {
                    inputs: kept,
                    saved,
                    table,
                    plan,
                    mailbox: mailbox.clone(),
                };
                let y = prep.finish(kept, y);
                let last = second_output::<B, C>(&y, like, last, mailbox);
                (y, last)
            }
            OpsKind::UnTracked(prep) => {
                let [u, delta, a_log, b, c, skip, gate, bias, initial] =
                    inputs.map(F::<B, C>::into_primitive);
                let (y, last) = B::selective_scan(
                    u, delta, a_log, b, c, skip, gate, bias, initial, table, plan,
                );
                (prep.finish(y), F::<B, C>::new(last))
            }
        }
    }
}
