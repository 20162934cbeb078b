//! The scan of Mamba-2 as one operation of the graph, on every backend of this crate's features: its backward pass is written by
//! hand, in Burn's operations where there is no fast body.

mod autodiff;

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, Dispatch, DispatchDevice, DispatchKindConversion, DispatchTensor, backend_extension,
};
use burn::tensor::{Device, Tensor};

use super::recurrence::Saving;
use crate::portable::{SsdGrads, scanned, ssd_grads};
use crate::{RowLayout, StateSpaceDual};

/// Everything the scan needs besides the tensors.
#[derive(Clone, Debug)]
pub struct DualPlan {
    /// Which rows belong together.
    pub rows: RowLayout,
    /// Groups of `B` and `C`.
    pub groups: usize,
    /// Bounds of the step.
    pub limit: (f64, f64),
    /// Whether the backend's own body is taken, if it has one.
    #[cfg_attr(not(feature = "flex"), allow(dead_code))] // No other has one.
    pub fast: bool,
}

/// Input, steps, `ln(−A)`, `B`, `C`, skip, bias of the steps and initial states; of the last two, an empty one is none.
pub type Inputs<B> = [FloatTensor<B>; 8];

/// The forward body, routed by Burn's dispatch.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cubecl"),
    Autodiff
)]
pub trait DualOps: Backend {
    /// See [`ssd`](crate::ssd).
    #[allow(clippy::too_many_arguments)] // The routing takes tensors one by one.
    fn dual_scan(
        x: FloatTensor<Self>,
        dt: FloatTensor<Self>,
        a_log: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        skip: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        initial: FloatTensor<Self>,
        plan: DualPlan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// What the backward pass calls on the inner backend. Not routed: a gradient of a gradient is not offered.
pub trait DualGrads: DualOps {
    /// The scan that also returns what its gradients need, third.
    fn dual_scan_saving(inputs: Inputs<Self>, plan: &DualPlan) -> Saving<Self>;

    /// Gradients of the scan to its inputs, those asked for, from the gradient to its output and that to the last states, if
    /// there is one.
    fn dual_scan_grads(
        inputs: Inputs<Self>,
        saved: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        last: Option<FloatTensor<Self>>,
        plan: &DualPlan,
        wanted: [bool; 8],
    ) -> [Option<FloatTensor<Self>>; 8];
}

/// Whether the scan is one operation on a device.
pub fn is_known(device: &Device) -> bool {
    let known = |device: &DispatchDevice| match device {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        #[cfg(feature = "cubecl")]
        DispatchDevice::Cube(_) => true,
        #[allow(unreachable_patterns)] // Where there are no other backends.
        _ => false,
    };
    match device.as_dispatch() {
        DispatchDevice::Autodiff(inner) => known(inner),
        device => known(device),
    }
}

/// The scan by Burn's routing, on a [known](is_known) device.
pub fn routed(inputs: StateSpaceDual, rows: &RowLayout, fast: bool) -> (Tensor<2>, Tensor<4>) {
    let none = (&inputs.x.device(), inputs.x.dtype());
    let (y, last) = <Dispatch as DualOps>::dual_scan(
        inputs.x.into_dispatch(),
        inputs.dt.into_dispatch(),
        inputs.a_log.into_dispatch(),
        inputs.b.into_dispatch(),
        inputs.c.into_dispatch(),
        inputs.skip.into_dispatch(),
        (inputs.dt_bias)
            .unwrap_or_else(|| Tensor::empty([0], none))
            .into_dispatch(),
        (inputs.initial)
            .unwrap_or_else(|| Tensor::empty([0, 0, 0, 0], none))
            .into_dispatch(),
        DualPlan {
            rows: rows.clone(),
            groups: inputs.groups,
            limit: inputs.dt_limit,
            fast,
        },
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(last))
}

/// Back to the tensors of the function.
fn lifted<B: Backend>(inputs: Inputs<B>, plan: &DualPlan) -> StateSpaceDual
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let [x, dt, a_log, b, c, skip, bias, initial] = inputs;
    let bias = Tensor::<1>::from_primitive::<B>(bias);
    let initial = Tensor::<4>::from_primitive::<B>(initial);
    StateSpaceDual {
        x: Tensor::from_primitive::<B>(x),
        dt: Tensor::from_primitive::<B>(dt),
        a_log: Tensor::from_primitive::<B>(a_log),
        b: Tensor::from_primitive::<B>(b),
        c: Tensor::from_primitive::<B>(c),
        skip: Tensor::from_primitive::<B>(skip),
        dt_bias: (bias.dims() != [0]).then_some(bias),
        dt_limit: plan.limit,
        initial: (initial.dims() != [0; 4]).then_some(initial),
        groups: plan.groups,
    }
}

fn lowered<B: Backend, const D: usize>(x: Tensor<D>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    x.try_into_primitive::<B>()
        .expect("made of tensors of the backend, without autodiff")
}

/// By Burn's operations.
pub fn composed<B: Backend>(inputs: Inputs<B>, plan: &DualPlan) -> Saving<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let found = scanned(&lifted::<B>(inputs, plan), &plan.rows);
    (
        lowered::<B, 2>(found.y),
        lowered::<B, 4>(found.last),
        lowered::<B, 4>(found.before),
    )
}

/// By Burn's operations.
pub fn composed_grads<B: Backend>(
    inputs: Inputs<B>,
    saved: FloatTensor<B>,
    grad: FloatTensor<B>,
    last: Option<FloatTensor<B>>,
    plan: &DualPlan,
    wanted: [bool; 8],
) -> [Option<FloatTensor<B>>; 8]
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let SsdGrads {
        x,
        dt,
        a_log,
        b,
        c,
        skip,
        dt_bias,
        initial,
    } = ssd_grads(
        &lifted::<B>(inputs, plan),
        Tensor::from_primitive::<B>(saved),
        Tensor::from_primitive::<B>(grad),
        last.map(Tensor::from_primitive::<B>),
        &plan.rows,
        wanted,
    );
    [
        x.map(lowered::<B, 2>),
        dt.map(lowered::<B, 2>),
        a_log.map(lowered::<B, 1>),
        b.map(lowered::<B, 2>),
        c.map(lowered::<B, 2>),
        skip.map(lowered::<B, 1>),
        dt_bias.map(lowered::<B, 1>),
        initial.map(lowered::<B, 4>),
    ]
}

/// The bodies by Burn's operations for a backend that has no other.
#[cfg(any(feature = "ndarray", feature = "cubecl"))]
macro_rules! composed_bodies {
    ($backend:ty) => {
        impl DualOps for $backend {
            #[rustfmt::skip]
            fn dual_scan(
                x: FloatTensor<Self>, dt: FloatTensor<Self>, a_log: FloatTensor<Self>, b: FloatTensor<Self>,
                c: FloatTensor<Self>, skip: FloatTensor<Self>, bias: FloatTensor<Self>, initial: FloatTensor<Self>,
                plan: DualPlan,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                let (y, last, _) = composed::<Self>([x, dt, a_log, b, c, skip, bias, initial], &plan);
                (y, last)
            }
        }

        impl DualGrads for $backend {
            fn dual_scan_saving(inputs: Inputs<Self>, plan: &DualPlan) -> Saving<Self> {
                composed::<Self>(inputs, plan)
            }

            fn dual_scan_grads(
                inputs: Inputs<Self>,
                saved: FloatTensor<Self>,
                grad: FloatTensor<Self>,
                last: Option<FloatTensor<Self>>,
                plan: &DualPlan,
                wanted: [bool; 8],
            ) -> [Option<FloatTensor<Self>>; 8] {
                composed_grads::<Self>(inputs, saved, grad, last, plan, wanted)
            }
        }
    };
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // As a whole upstream, and supported while it ships.
mod ndarray {
    use super::*;

    composed_bodies!(burn::backend::NdArray);
}

#[cfg(feature = "cubecl")]
composed_bodies!(burn::backend::Cube);
