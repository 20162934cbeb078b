use burn::tensor::Tensor;

use super::linear::checked;
#[cfg(feature = "flex")]
use super::{linear::widened, low_rank::or_empty};
use crate::RowUpdate;

/// Product with a weight plus a trained change of it: `y = x · weight + bias + Δ(x; a)`; `None` where
/// the device has no body for it, and the caller composes the change of Burn's own operations.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]`, `bias` is `[out]`, `coefficients` is `[n]`. What is
/// kept for the gradients is the update's own choice; `x` is kept only if the weight is trained.
///
/// # Panics
/// If the shapes disagree.
pub fn linear_updated(
    x: &Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    coefficients: Tensor<1>,
    update: &RowUpdate,
) -> Option<Tensor<2>> {
    checked("linear_updated", x, &weight, bias.as_ref());
    let ([inner, out], [n]) = (weight.dims(), coefficients.dims());
    assert!(
        (inner, out, n)
            == (
                update.in_features(),
                update.out_features(),
                update.coefficients()
            ),
        "linear_updated: an update of [{}, {}] with {} coefficients does not fit a weight \
         [{inner}, {out}] and {n} coefficients",
        update.in_features(),
        update.out_features(),
        update.coefficients()
    );
    #[cfg(feature = "flex")]
    if crate::route::is_fast(x) {
        use burn::backend::Dispatch;
        let y = <Dispatch as crate::ops::KernelOps>::updated_product(
            x.clone().into_dispatch(),
            widened(weight, x).into_dispatch(),
            or_empty(bias, x).into_dispatch(),
            coefficients.into_dispatch(),
            update.clone(),
        );
        return Some(Tensor::from_dispatch(y));
    }
    None
}
