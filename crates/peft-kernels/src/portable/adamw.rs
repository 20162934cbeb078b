use burn::tensor::Tensor;

use crate::{AdamWStep, AdamWTensor};

/// [`adamw`](crate::adamw) for one tensor by Burn's operations.
#[must_use]
pub fn adamw(tensor: AdamWTensor, step: &AdamWStep) -> AdamWTensor {
    let (mean_correction, root_correction) = step.corrections();
    let AdamWTensor {
        value,
        mean,
        square,
        gradient,
        rate,
    } = tensor;
    let scaled = gradient.clone().mul_scalar(step.gradient_scale);
    let mean = mean.mul_scalar(step.beta1) + scaled.clone().mul_scalar(1.0 - step.beta1);
    let square =
        square.mul_scalar(step.beta2) + scaled.clone().mul(scaled).mul_scalar(1.0 - step.beta2);
    let denominator = square
        .clone()
        .sqrt()
        .div_scalar(root_correction)
        .add_scalar(step.eps);
    let change = mean
        .clone()
        .div(denominator)
        .mul_scalar(rate / mean_correction);
    AdamWTensor {
        value: value.mul_scalar(1.0 - rate * step.weight_decay) - change,
        mean,
        square,
        gradient,
        rate,
    }
}

/// [`norms`](crate::norms) by Burn's operations.
#[must_use]
pub fn norms(tensors: &[Tensor<1>]) -> Vec<f64> {
    if tensors.is_empty() {
        return Vec::new();
    }
    // One transfer from the device for all tensors.
    let squares = tensors.iter().map(|x| (x.clone() * x.clone()).sum());
    Tensor::<1>::cat(squares.collect(), 0)
        .into_data()
        .iter::<f64>()
        .map(f64::sqrt)
        .collect()
}
