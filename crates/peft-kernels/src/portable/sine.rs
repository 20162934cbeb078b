use burn::tensor::Tensor;

/// [`linear_sine`](crate::linear_sine) by Burn's operations.
pub fn linear_sine(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    b: Tensor<2>,
    frequency: f64,
    scale: f64,
) -> Tensor<2> {
    let sine = a.mul_scalar(frequency).matmul(b).sin();
    let weight = weight.cast(x.dtype()) + sine.mul_scalar(scale);
    super::linear(x, weight, bias)
}
