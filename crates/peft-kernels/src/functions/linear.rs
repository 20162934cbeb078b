use burn::tensor::{DType, Tensor};

#[cfg(feature = "flex")]
use super::blocks::block_type;
use super::blocks::decoded;
use crate::portable;
use crate::route::try_fast;

/// Product with a weight, plus bias: `y = x · weight + bias`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]` (Burn's layout; a transposed view costs nothing on
/// flex), `bias` is `[out]`. For a weight that does not require a gradient neither the gradient nor
/// the input is kept. A frozen weight may be `bf16` or `f16` under an `f32` or `f64` input: on flex
/// it is widened block by block as it is read, elsewhere as a whole. On flex it may also be a
/// [`block_matrix`](crate::block_matrix), transposed or not, which is decoded as it is read.
///
/// # Panics
/// If the shapes disagree.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    checked("linear", &x, &weight, bias.as_ref());
    let weight = widened(weight, &x);
    match bias {
        Some(bias) => with_bias(x, weight, bias),
        None => without_bias(x, weight),
    }
}

fn with_bias(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    try_fast!(
        x,
        product_bias(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch()
        )
    );
    portable::linear(x, weight, Some(bias))
}

fn without_bias(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    try_fast!(x, product(x.into_dispatch(), weight.into_dispatch()));
    portable::linear(x, weight, None)
}

/// Panics unless the shapes fit.
pub(super) fn checked(op: &str, x: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) {
    let ([rows, inner], [weight_in, out]) = (x.dims(), weight.dims());
    assert_eq!(
        inner, weight_in,
        "{op}: x [{rows}, {inner}] does not fit a weight [{weight_in}, {out}]"
    );
    if let Some(bias) = bias {
        assert_eq!(bias.dims(), [out], "{op}: bias must be [{out}]");
    }
}

/// A weight that the body for `x` can read: in its type, or frozen and in half precision or in blocks
/// where the fast body widens it.
pub(super) fn widened(weight: Tensor<2>, x: &Tensor<2>) -> Tensor<2> {
    if weight.dtype() == x.dtype() {
        return weight;
    }
    #[cfg(feature = "flex")]
    if crate::route::is_fast(x) {
        let half = matches!(weight.dtype(), DType::BF16 | DType::F16) && !weight.is_require_grad();
        if half || block_type(&weight).is_some() {
            return weight;
        }
    }
    let wide: DType = x.dtype();
    decoded(weight).cast(wide)
}
