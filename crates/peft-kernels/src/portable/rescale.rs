use burn::tensor::{DType, Tensor};

/// [`rescale`](crate::rescale) by Burn's operations.
pub fn rescale(x: Tensor<2>, center: Option<Tensor<1>>, factor: Tensor<1>) -> Tensor<2> {
    let inner = match center {
        Some(center) => x.clone() - center.unsqueeze::<2>(),
        None => x.clone(),
    };
    x + inner * factor.sub_scalar(1.0).unsqueeze::<2>()
}

/// [`squared_column_norms`](crate::squared_column_norms) by Burn's operations.
pub fn squared_column_norms(weight: Tensor<2>) -> Tensor<1> {
    let weight = match weight.dtype() {
        DType::F64 => weight,
        _ => weight.cast(DType::F32),
    };
    let [rows, columns] = weight.dims();
    // Through one dimension and back: the order of a sum may depend on how a view lies in memory.
    let squares = weight
        .powi_scalar(2)
        .reshape([rows * columns])
        .reshape([rows, columns]);
    squares.sum_dim(0).reshape([columns])
}
