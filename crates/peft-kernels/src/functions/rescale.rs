use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Columns stretched about a centre: `y = c + f ∘ (x − c)`, exactly `x` where `f` is 1.
///
/// `x` is `[rows, d]`, the centre `c` (zeros if there is none) and the factor `f` are `[d]`. What
/// follows a linear layer whose weight has its columns rescaled but not its bias. On flex the output is
/// kept for the backward pass, which whoever comes next mostly keeps as well; where a factor is below an
/// eighth `x` is kept, which cannot be told from the output then.
///
/// # Panics
/// If the shapes disagree.
pub fn rescale(x: Tensor<2>, center: Option<Tensor<1>>, factor: Tensor<1>) -> Tensor<2> {
    let [_, d] = x.dims();
    assert_eq!(factor.dims(), [d], "rescale: factor must be [{d}]");
    if let Some(center) = &center {
        assert_eq!(center.dims(), [d], "rescale: center must be [{d}]");
    }
    try_fast!(
        x,
        rescaled(
            x.clone().into_dispatch(),
            super::low_rank::or_empty(center, &x).into_dispatch(),
            factor.into_dispatch()
        )
    );
    portable::rescale(x, center, factor)
}

/// `Σᵢ wᵢⱼ²` of every column of a matrix `[in, out]`, as `[out]`; without autodiff.
///
/// Half precision is widened to `f32`. On flex the sums are taken in double precision and in an order
/// that depends neither on the threads nor on the layout in memory.
#[must_use]
pub fn squared_column_norms(weight: &Tensor<2>) -> Tensor<1> {
    let weight = super::decoded(weight.clone()).without_autodiff();
    #[cfg(feature = "flex")]
    if crate::backends::flex::holds(&weight) {
        return crate::backends::flex::squared_column_norms(weight);
    }
    portable::squared_column_norms(weight)
}
