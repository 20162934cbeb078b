use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Softmax over the last dimension: `yᵢ = exp(xᵢ − m) / Σⱼ exp(xⱼ − m)` with `m` the largest of the
/// row.
///
/// Any shape. Stable for numbers of any size; a NaN makes its row NaN, and so does a row of nothing
/// but minus infinity. Only the output is kept for the backward pass.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    try_fast!(x, fused_softmax(x.into_dispatch()));
    portable::softmax(x)
}
