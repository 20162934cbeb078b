use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Product with a weight, plus bias: `y = x · weight + bias`.
///
/// `x` is `[rows, in]`, `weight` is `[in, out]` (Burn's layout; a transposed view costs nothing on
/// flex), `bias` is `[out]`. For a weight that does not require a gradient neither the gradient nor
/// the input is kept.
///
/// # Panics
/// If the shapes disagree.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let ([rows, inner], [weight_in, out]) = (x.dims(), weight.dims());
    assert_eq!(
        inner, weight_in,
        "linear: x [{rows}, {inner}] does not fit a weight [{weight_in}, {out}]"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [out], "linear: bias must be [{out}]");
    }
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
