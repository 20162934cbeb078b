use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Rotary position embedding (Su et al. 2021) in the form of two halves, as GPT-NeoX and Llama have it.
///
/// `x` is `[T, H·D]`, the tables are `[T, R/2]` with `R ≤ D`: for every row, head and `i < R/2`, with
/// `c = cosᵢ` and `s = sinᵢ` of the row,
///
/// ```text
/// yᵢ       = xᵢ · c − xᵢ₊R/₂ · s
/// yᵢ₊R/₂   = xᵢ₊R/₂ · c + xᵢ · s
/// ```
///
/// and the channels from `R` on are passed through. The tables, as [`RopeTables`](crate::RopeTables) makes them, are
/// constants: no gradient goes to them. They are cast to the type of `x`. The gradient of `x` is turned by the opposite
/// angles.
///
/// # Panics
/// If `heads` does not divide the width of `x`, or the tables do not have its rows, differ in shape or are wider than
/// half a head.
pub fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, heads: usize) -> Tensor<2> {
    let ([rows, width], [table_rows, half]) = (x.dims(), cos.dims());
    assert!(
        heads > 0 && width.is_multiple_of(heads),
        "rope: {heads} heads must divide a width of {width}"
    );
    assert!(
        cos.dims() == sin.dims() && table_rows == rows && half > 0 && 2 * half <= width / heads,
        "rope: tables {:?} and {:?} do not fit {rows} rows of {heads} heads of {} channels",
        cos.dims(),
        sin.dims(),
        width / heads
    );
    let [cos, sin] = [cos, sin].map(|table| table.without_autodiff().cast(x.dtype()));
    try_fast!(
        x,
        rotated(
            x.into_dispatch(),
            cos.into_dispatch(),
            sin.into_dispatch(),
            heads
        )
    );
    portable::rope(x, cos, sin, heads)
}
