use burn::tensor::Tensor;

use super::linear::checked;
use crate::portable;
use crate::route::try_fast;

/// Product with a weight and with a sine of a low-rank matrix: `y = x · (weight + scale · sin(frequency ·
/// a · b)) + bias`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]`, `bias` is `[out]`, `a` is `[in, r]` and `b` is
/// `[r, out]`. The sine has full rank, so it costs a pass over the weight. On flex it is made for some
/// columns at a time, in both directions, and beside the inputs nothing is kept for the backward pass;
/// elsewhere Burn keeps matrices of the weight's size. A weight in [blocks](crate::block_matrix) is decoded as a whole.
///
/// # Panics
/// If the shapes disagree.
pub fn linear_sine(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    b: Tensor<2>,
    frequency: f64,
    scale: f64,
) -> Tensor<2> {
    checked("linear_sine", &x, &weight, bias.as_ref());
    let ([inner, out], [a_in, rank], [b_rank, b_out]) = (weight.dims(), a.dims(), b.dims());
    assert!(
        a_in == inner && b_rank == rank && b_out == out,
        "linear_sine: a [{a_in}, {rank}] and b [{b_rank}, {b_out}] do not fit a weight [{inner}, {out}]"
    );
    let weight = super::decoded(weight);
    try_fast!(
        x,
        sine_product(
            x.clone().into_dispatch(),
            super::linear::widened(weight, &x).into_dispatch(),
            super::low_rank::or_empty(bias, &x).into_dispatch(),
            a.into_dispatch(),
            b.into_dispatch(),
            frequency,
            scale
        )
    );
    portable::linear_sine(x, weight, bias, a, b, frequency, scale)
}
