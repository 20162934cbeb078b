use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::{DualGrads, DualOps, DualPlan, Inputs, Saving};
use crate::backends::recurrence::{F, Recurrence, tracked};

#[derive(Debug)]
struct Scan;

impl<B: DualGrads> Recurrence<B, 8> for Scan {
    type Plan = DualPlan;

    fn plain(inputs: Inputs<B>, plan: DualPlan) -> (FloatTensor<B>, FloatTensor<B>) {
        let [x, dt, a_log, b, c, skip, bias, initial] = inputs;
        B::dual_scan(x, dt, a_log, b, c, skip, bias, initial, plan)
    }

    fn saving(inputs: Inputs<B>, plan: &DualPlan) -> Saving<B> {
        B::dual_scan_saving(inputs, plan)
    }

    fn grads(
        inputs: Inputs<B>,
        saved: FloatTensor<B>,
        grad: FloatTensor<B>,
        last: Option<FloatTensor<B>>,
        plan: DualPlan,
        wanted: [bool; 8],
    ) -> [Option<FloatTensor<B>>; 8] {
        B::dual_scan_grads(inputs, saved, grad, last, &plan, wanted)
    }
}

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
        tracked::<Scan, B, C, 8>(inputs, plan)
    }
}
