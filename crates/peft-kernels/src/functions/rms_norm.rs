use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Normalisation by the root of the mean square over the last dimension (Zhang and Sennrich 2019):
/// `y = x / √(mean(x²) + eps) · gamma`.
///
/// `x` is `[…, d]`, `gamma` is `[d]`. Half precision is computed in `f32`. On flex only the inputs
/// are kept for the backward pass.
///
/// # Panics
/// If `gamma` has another length than the last dimension of `x`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    check("rms_norm", x.dims()[D - 1], &gamma);
    try_fast!(
        x,
        fused_rms_norm(x.into_dispatch(), gamma.into_dispatch(), eps)
    );
    portable::rms_norm(x, gamma, eps)
}

/// A residual stream and its norm, as before every sub-layer of Llama:
/// `(rms_norm(s, gamma, eps), s)` with `s = x + residual`.
///
/// `x` and `residual` are `[rows, d]`, `gamma` is `[d]`. On flex both results come from one pass.
///
/// # Panics
/// If the shapes disagree.
pub fn add_rms_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    eps: f64,
) -> (Tensor<2>, Tensor<2>) {
    assert_eq!(
        x.dims(),
        residual.dims(),
        "add_rms_norm: x and residual differ in shape"
    );
    check("add_rms_norm", x.dims()[1], &gamma);
    #[cfg(feature = "flex")]
    if crate::route::is_fast(&x) {
        use burn::backend::Dispatch;
        let (y, sum) = <Dispatch as crate::ops::KernelOps>::fused_add_rms_norm(
            x.into_dispatch(),
            residual.into_dispatch(),
            gamma.into_dispatch(),
            eps,
        );
        return (Tensor::from_dispatch(y), Tensor::from_dispatch(sum));
    }
    portable::add_rms_norm(x, residual, gamma, eps)
}

fn check(name: &str, d: usize, gamma: &Tensor<1>) {
    assert!(
        gamma.dims() == [d],
        "{name}: gamma {:?} must be [{d}]",
        gamma.dims()
    );
}
