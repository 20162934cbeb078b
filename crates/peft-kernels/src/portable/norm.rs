use burn::tensor::{DType, Tensor};

/// [`layer_norm`](crate::layer_norm) by Burn's operations.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let mean = x.clone().mean_dim(D - 1);
    let centred = x - mean;
    let var = (centred.clone() * centred.clone()).mean_dim(D - 1);
    centred / (var + eps).sqrt() * gamma.unsqueeze::<D>() + beta.unsqueeze::<D>()
}

/// [`add_layer_norm`](crate::add_layer_norm) by Burn's operations.
pub fn add_layer_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<2> {
    layer_norm(x + residual, gamma, beta, eps)
}

/// [`rms_norm`](crate::rms_norm) by Burn's operations.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype: DType = x.dtype();
    if matches!(dtype, DType::F16 | DType::BF16) {
        let [x, gamma] = [x.cast(DType::F32), gamma.cast(DType::F32).unsqueeze()];
        return normalised(x, gamma, eps).cast(dtype);
    }
    normalised(x, gamma.unsqueeze(), eps)
}

fn normalised<const D: usize>(x: Tensor<D>, gamma: Tensor<D>, eps: f64) -> Tensor<D> {
    let square = (x.clone() * x.clone()).mean_dim(D - 1);
    x / (square + eps).sqrt() * gamma
}

/// [`add_rms_norm`](crate::add_rms_norm) by Burn's operations.
pub fn add_rms_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    eps: f64,
) -> (Tensor<2>, Tensor<2>) {
    let sum = x + residual;
    (rms_norm(sum.clone(), gamma, eps), sum)
}
