use burn::tensor::Tensor;

use super::linear::{checked, widened};
use crate::portable;
use crate::route::try_fast;

/// Product with a weight and with its low-rank companion: `y = x · weight + bias + scale · x · a · b`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]`, `bias` is `[out]`, `a` is `[in, r]` and `b` is
/// `[r, out]`. On flex the output, and the gradient to `x`, are written in one pass that adds up both
/// products; beside the inputs only `x · a` is kept.
///
/// # Panics
/// If the shapes disagree.
pub fn linear_low_rank(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f64,
) -> Tensor<2> {
    checked("linear_low_rank", &x, &weight, bias.as_ref());
    let ([inner, out], [a_in, rank], [b_rank, b_out]) = (weight.dims(), a.dims(), b.dims());
    assert!(
        a_in == inner && b_rank == rank && b_out == out,
        "linear_low_rank: a [{a_in}, {rank}] and b [{b_rank}, {b_out}] do not fit a weight \
         [{inner}, {out}]"
    );
    let weight = widened(weight, &x);
    try_fast!(
        x,
        low_rank_product(
            x.clone().into_dispatch(),
            weight.into_dispatch(),
            or_empty(bias, &x).into_dispatch(),
            a.into_dispatch(),
            b.into_dispatch(),
            scale
        )
    );
    portable::linear_low_rank(x, weight, bias, a, b, scale)
}

/// Product with a weight and with a companion around a small core:
/// `y = x · weight + bias + x · a · core · b`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]`, `bias` is `[out]`, `a` is `[in, q]`, `core` is
/// `[q, p]` and `b` is `[p, out]`. For updates in a fixed basis: on flex the output, and the gradient
/// to `x`, are written in one pass that adds up both products, and where only the core is trained
/// `x · a` is all that is kept.
///
/// # Panics
/// If the shapes disagree.
pub fn linear_core(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    core: Tensor<2>,
    b: Tensor<2>,
) -> Tensor<2> {
    checked("linear_core", &x, &weight, bias.as_ref());
    let [inner, out] = weight.dims();
    let ([a_in, q], [core_q, p], [b_p, b_out]) = (a.dims(), core.dims(), b.dims());
    assert!(
        (a_in, core_q, b_p, b_out) == (inner, q, p, out),
        "linear_core: a [{a_in}, {q}], core [{core_q}, {p}] and b [{b_p}, {b_out}] do not fit a \
         weight [{inner}, {out}]"
    );
    let weight = widened(weight, &x);
    try_fast!(
        x,
        core_product(
            x.clone().into_dispatch(),
            weight.into_dispatch(),
            or_empty(bias, &x).into_dispatch(),
            a.into_dispatch(),
            core.into_dispatch(),
            b.into_dispatch()
        )
    );
    portable::linear_core(x, weight, bias, a, core, b)
}

/// Product with a weight plus another product: `y = x · weight + bias + low · b`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]`, `bias` is `[out]`, `low` is `[rows, r]` and `b` is
/// `[r, out]`. For adapters whose inner side is not a plain product of `x`. On flex the output is
/// written in one pass.
///
/// # Panics
/// If the shapes disagree.
pub fn linear_plus(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    low: Tensor<2>,
    b: Tensor<2>,
) -> Tensor<2> {
    checked("linear_plus", &x, &weight, bias.as_ref());
    let ([rows, _], [_, out]) = (x.dims(), weight.dims());
    let ([low_rows, rank], [b_rank, b_out]) = (low.dims(), b.dims());
    assert!(
        low_rows == rows && b_rank == rank && b_out == out,
        "linear_plus: low [{low_rows}, {rank}] and b [{b_rank}, {b_out}] do not fit {rows} rows of \
         {out}"
    );
    let weight = widened(weight, &x);
    try_fast!(
        x,
        product_with_addend(
            x.clone().into_dispatch(),
            weight.into_dispatch(),
            or_empty(bias, &x).into_dispatch(),
            low.into_dispatch(),
            b.into_dispatch()
        )
    );
    portable::linear_plus(x, weight, bias, low, b)
}

/// Extension operations take no optional tensors.
#[cfg(feature = "flex")]
pub(super) fn or_empty(bias: Option<Tensor<1>>, like: &Tensor<2>) -> Tensor<1> {
    bias.unwrap_or_else(|| Tensor::empty([0], (&like.device(), like.dtype())))
}
