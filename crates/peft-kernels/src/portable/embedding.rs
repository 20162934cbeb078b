use burn::tensor::{Int, Tensor};

use super::layer_norm;
use crate::{Lookup, NormParameters};

/// [`embedding`](crate::embedding) by Burn's operations.
pub fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    table.select(0, ids)
}

/// [`embedding_layer_norm`](crate::embedding_layer_norm) by Burn's operations.
pub fn embedding_layer_norm(
    word: Lookup,
    position: Option<Lookup>,
    segment: Option<Lookup>,
    norm: NormParameters,
) -> Tensor<2> {
    let dtype = norm.gamma.dtype();
    let rows = |x: Lookup| x.table.select(0, x.ids).cast(dtype);
    let others = [position, segment].into_iter().flatten();
    // One row for all is broadcast.
    let sum = others.fold(rows(word), |sum, other| sum + rows(other));
    layer_norm(sum, norm.gamma, norm.beta, norm.eps)
}
