//! The selective scan (Gu and Dao 2023): a unit goes through time with the states of one channel in registers.

mod fusion;
mod grads;
mod kernels;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;

use crate::backends::selective::{Inputs, Saving, ScanGrads, ScanOps, ScanPlan};

/// Rows between states that are kept for the backward pass, which computes those between anew.
pub const SCAN_CHUNK: usize = 16;
/// States of a channel that there are registers and shared memory for.
pub const MOST_STATES: usize = 48;

/// The sizes of a scan.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    channels: usize,
    states: usize,
    sequences: usize,
    chunks: usize,
}

impl Sizes {
    fn new(u: &Shape, a_log: &Shape, plan: &ScanPlan) -> Self {
        let spans = plan.rows.starts().windows(2);
        Self {
            rows: u[0],
            channels: u[1],
            states: a_log[1],
            sequences: plan.rows.len(),
            chunks: spans
                .map(|span| (span[1] - span[0]).div_ceil(SCAN_CHUNK))
                .sum(),
        }
    }

    /// Of the output, the last states and the states before every chunk.
    fn outputs(&self) -> [Shape; 3] {
        let &Self {
            rows,
            channels,
            states,
            sequences,
            chunks,
        } = self;
        [
            Shape::new([rows, channels]),
            Shape::new([sequences, channels, states]),
            Shape::new([chunks, states, channels]),
        ]
    }
}

impl ScanOps for CubeBackend {
    fn selective_scan(
        u: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        a_log: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        skip: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        initial: FloatTensor<Self>,
        table: IntTensor<Self>,
        plan: ScanPlan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [u, delta, a_log, b, c, skip, gate, bias, initial];
        let (y, last, _) = kernels::forward(inputs, table, &plan, false);
        (y, last)
    }
}

impl ScanGrads for CubeBackend {
    fn selective_scan_saving(
        inputs: Inputs<Self>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
    ) -> Saving<Self> {
        kernels::forward(inputs, table, plan, true)
    }

    fn selective_scan_grads(
        inputs: Inputs<Self>,
        saved: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        last: Option<FloatTensor<Self>>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
        wanted: [bool; 9],
    ) -> [Option<FloatTensor<Self>>; 9] {
        grads::backward(inputs, saved, grad, last, table, plan, wanted)
    }
}
