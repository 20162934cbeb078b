use burn::tensor::Tensor;

use crate::GeluKind;

/// [`gelu`](crate::gelu) by Burn's operations.
pub fn gelu<const D: usize>(x: Tensor<D>, kind: GeluKind) -> Tensor<D> {
    match kind {
        // Not Burn's `gelu`: its default backward pass is the derivative of the tanh form, 1e-4 off.
        GeluKind::Erf => {
            let erf = (x.clone() * core::f64::consts::FRAC_1_SQRT_2).erf();
            x * (erf + 1.0) * 0.5
        }
        GeluKind::Tanh => {
            // Not Burn's `gelu_approximate`: its `powf(3)` has a NaN gradient on some backends for
            // negative x.
            const ROOT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
            let cube = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cube * 0.044715) * ROOT_2_OVER_PI;
            x * (inner.tanh() + 1.0) * 0.5
        }
    }
}

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
