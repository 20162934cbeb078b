use burn::tensor::Tensor;

/// [`linear`](crate::linear) by Burn's operations.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight);
    match bias {
        Some(bias) => y + bias.unsqueeze::<2>(),
        None => y,
    }
}

/// [`linear_low_rank`](crate::linear_low_rank) by Burn's operations.
pub fn linear_low_rank(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f64,
) -> Tensor<2> {
    // The scale goes on the narrow side, where it costs r multiplications a row.
    let low = x.clone().matmul(a).mul_scalar(scale);
    linear_plus(x, weight, bias, low, b)
}

/// [`linear_core`](crate::linear_core) by Burn's operations.
pub fn linear_core(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    core: Tensor<2>,
    b: Tensor<2>,
) -> Tensor<2> {
    let low = x.clone().matmul(a).matmul(core);
    linear_plus(x, weight, bias, low, b)
}

/// [`linear_plus`](crate::linear_plus) by Burn's operations.
pub fn linear_plus(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    low: Tensor<2>,
    b: Tensor<2>,
) -> Tensor<2> {
    linear(x, weight, bias) + low.matmul(b)
}
