//! Which body a call takes.

#[cfg(feature = "flex")]
use burn::tensor::{Device, Tensor};

/// Whether the functions of this crate have a fast body for a tensor: it lives on flex, in memory of
/// the host, as `f32` or `f64`.
pub fn has_fast_body<const D: usize>(x: &burn::tensor::Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    return is_fast(x);
    #[cfg(not(feature = "flex"))]
    {
        let _ = x;
        false
    }
}

#[cfg(feature = "flex")]
pub(crate) fn is_fast<const D: usize>(x: &Tensor<D>) -> bool {
    use burn::tensor::DType;
    matches!(x.dtype(), DType::F32 | DType::F64) && on_flex(&x.device())
}

#[cfg(feature = "flex")]
pub(crate) fn on_flex(device: &Device) -> bool {
    use burn::backend::DispatchDevice;
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)] // Where flex is the only backend.
        _ => false,
    }
}

/// Calls the fast body and returns, if there is one for the tensor.
macro_rules! try_fast {
    ($x:expr, $op:ident($($arg:expr),* $(,)?)) => {
        #[cfg(feature = "flex")]
        if crate::route::is_fast(&$x) {
            use burn::backend::Dispatch;
            let y = <Dispatch as crate::ops::KernelOps>::$op($($arg),*);
            return Tensor::from_dispatch(y);
        }
    };
}

pub(crate) use try_fast;
