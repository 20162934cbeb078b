use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::{Inputs, Saving, ScanGrads, ScanOps, ScanPlan};
use crate::backends::recurrence::{F, Recurrence, tracked};

#[derive(Debug)]
struct Scan;

impl<B: ScanGrads> Recurrence<B, 9> for Scan {
    type Plan = (IntTensor<B>, ScanPlan);

    fn plain(inputs: Inputs<B>, (table, plan): Self::Plan) -> (FloatTensor<B>, FloatTensor<B>) {
        let [u, delta, a_log, b, c, skip, gate, bias, initial] = inputs;
        B::selective_scan(
            u, delta, a_log, b, c, skip, gate, bias, initial, table, plan,
        )
    }

    fn saving(inputs: Inputs<B>, (table, plan): &Self::Plan) -> Saving<B> {
        B::selective_scan_saving(inputs, table.clone(), plan)
    }

    fn grads(
        inputs: Inputs<B>,
        saved: FloatTensor<B>,
        grad: FloatTensor<B>,
        last: Option<FloatTensor<B>>,
        (table, plan): Self::Plan,
        wanted: [bool; 9],
    ) -> [Option<FloatTensor<B>>; 9] {
        B::selective_scan_grads(inputs, saved, grad, last, table, &plan, wanted)
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
        tracked::<Scan, B, C, 9>(inputs, (table, plan))
    }
}
