//! The selective scan as one operation of the graph, on the backends that have a body for it; its backward pass is written by
//! hand.

mod autodiff;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{DType, Int, Tensor};

pub use super::recurrence::Saving;
use crate::{RowLayout, SelectiveScan};

/// Everything the scan needs besides the tensors.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// Which rows a scan goes through one after the other.
    pub rows: RowLayout,
}

/// `u`, steps, `ln(−A)`, `B`, `C`, skip, gate, bias of the steps and initial states; of the last three, an empty one is none.
pub type Inputs<B> = [FloatTensor<B>; 9];

/// The forward body, routed by Burn's dispatch.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cubecl"),
    Autodiff
)]
pub trait ScanOps: Backend {
    /// See [`selective_scan`](crate::selective_scan). The table tells a GPU where sequences and their chunks begin.
    #[allow(clippy::too_many_arguments)] // The routing takes tensors one by one.
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
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// What the backward pass calls on the inner backend. Not routed: a gradient of a gradient is not offered.
pub trait ScanGrads: ScanOps {
    /// The scan that also returns what its gradients need, third.
    fn selective_scan_saving(
        inputs: Inputs<Self>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
    ) -> Saving<Self>;

    /// Gradients of the scan to its inputs, those asked for, from the gradient to its output and that to the last states, if
    /// there is one.
    fn selective_scan_grads(
        inputs: Inputs<Self>,
        saved: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        last: Option<FloatTensor<Self>>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
        wanted: [bool; 9],
    ) -> [Option<FloatTensor<Self>>; 9];
}

/// Whether a backend's body takes these inputs.
pub fn is_known(inputs: &SelectiveScan) -> bool {
    let (dtype, device) = (inputs.u.dtype(), inputs.u.device());
    let known = |device: &DispatchDevice| match device {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => matches!(dtype, DType::F32 | DType::F64),
        #[cfg(feature = "cubecl")]
        DispatchDevice::Cube(_) => {
            let [rows, _] = inputs.u.dims();
            let [_, states] = inputs.a_log.dims();
            dtype == DType::F32 && rows > 0 && states <= super::cubecl::MOST_STATES
        }
        #[allow(unreachable_patterns)] // Where there are no other backends.
        _ => false,
    };
    match device.as_dispatch() {
        DispatchDevice::Autodiff(inner) => known(inner),
        device => known(device),
    }
}

/// The scan by Burn's routing, of inputs that are [known](is_known).
pub fn routed(inputs: SelectiveScan, rows: &RowLayout) -> (Tensor<2>, Tensor<3>) {
    let device = inputs.u.device();
    let none = (&device, inputs.u.dtype());
    let table = table(rows);
    let table = match device.is_autodiff() {
        true => Tensor::from_inner(table),
        false => table,
    };
    let (y, last) = <Dispatch as ScanOps>::selective_scan(
        inputs.u.into_dispatch(),
        inputs.delta.into_dispatch(),
        inputs.a_log.into_dispatch(),
        inputs.b.into_dispatch(),
        inputs.c.into_dispatch(),
        inputs.skip.into_dispatch(),
        (inputs.gate)
            .unwrap_or_else(|| Tensor::empty([0, 0], none))
            .into_dispatch(),
        (inputs.delta_bias)
            .unwrap_or_else(|| Tensor::empty([0], none))
            .into_dispatch(),
        (inputs.initial)
            .unwrap_or_else(|| Tensor::empty([0, 0, 0], none))
            .into_dispatch(),
        table.into_dispatch(),
        ScanPlan { rows: rows.clone() },
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(last))
}

/// Where sequences and their chunks begin; nothing on the processor, whose body reads that of the plan.
fn table(rows: &RowLayout) -> Tensor<1, Int> {
    #[cfg(feature = "cubecl")]
    if let DispatchDevice::Cube(_) = rows.device().as_dispatch() {
        return rows.scan_table().clone();
    }
    Tensor::empty([0], rows.device())
}
