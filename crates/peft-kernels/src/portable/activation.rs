use burn::tensor::Tensor;

use crate::{Activation, GeluKind};

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

/// [`silu`](crate::silu) by Burn's operations.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // Burn's sigmoid rounds to single precision on some backends; this form overflows for no x.
    let half = x.mul_scalar(0.5);
    half.clone() * half.tanh().add_scalar(1.0)
}

/// An activation by Burn's operations.
pub fn activation<const D: usize>(x: Tensor<D>, kind: Activation) -> Tensor<D> {
    match kind {
        Activation::Gelu(kind) => gelu(x, kind),
        Activation::Silu => silu(x),
    }
}

/// [`bias_activation`](crate::bias_activation) by Burn's operations.
pub fn bias_activation(x: Tensor<2>, bias: Tensor<1>, kind: Activation) -> Tensor<2> {
    activation(x + bias.unsqueeze::<2>(), kind)
}

/// [`gated`](crate::gated) by Burn's operations.
pub fn gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>, kind: Activation) -> Tensor<D> {
    activation(gate, kind) * up
}

/// [`softmax`](crate::softmax) by Burn's operations.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    burn::tensor::activation::softmax(x, D - 1)
}
