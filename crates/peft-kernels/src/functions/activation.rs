use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Which formula [`gelu`] uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GeluKind {
    /// `x Φ(x) = x/2 · (1 + erf(x/√2))`: Hugging Face's `gelu`.
    Erf,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`: Hugging Face's `gelu_new` and
    /// `gelu_pytorch_tanh`.
    Tanh,
}

/// An activation of the form `x · s(x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// See [`gelu`].
    Gelu(GeluKind),
    /// See [`silu`].
    Silu,
}

/// Gaussian error linear unit, element by element (Hendrycks and Gimpel 2016).
///
/// Any shape. NaN stays NaN, and minus infinity gives NaN, the product of infinity and 0.
pub fn gelu<const D: usize>(x: Tensor<D>, kind: GeluKind) -> Tensor<D> {
    activation(x, Activation::Gelu(kind))
}

/// `x / (1 + exp(−x))`, element by element: the sigmoid linear unit, or swish.
///
/// Any shape. NaN stays NaN, and minus infinity gives NaN, the product of infinity and 0.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation(x, Activation::Silu)
}

fn activation<const D: usize>(x: Tensor<D>, kind: Activation) -> Tensor<D> {
    try_fast!(x, fused_activation(x.into_dispatch(), kind));
    portable::activation(x, kind)
}

/// Activation of a sum with a bias: `activation(x + bias)`.
///
/// `x` is `[rows, d]`, `bias` is `[d]`. On flex the sum is not stored: beside the inputs nothing is
/// kept for the backward pass.
///
/// # Panics
/// If the bias has another length than the rows of `x`.
pub fn bias_activation(x: Tensor<2>, bias: Tensor<1>, kind: Activation) -> Tensor<2> {
    let [_, d] = x.dims();
    assert_eq!(
        bias.dims(),
        [d],
        "bias_activation: bias must be [{d}] for rows of {d}"
    );
    try_fast!(
        x,
        fused_bias_activation(x.into_dispatch(), bias.into_dispatch(), kind)
    );
    portable::bias_activation(x, bias, kind)
}

/// Gated activation, element by element: `activation(gate) · up`. With [`Activation::Silu`] that is
/// SwiGLU, with [`Activation::Gelu`] GeGLU (Shazeer 2020).
///
/// Both tensors have one shape, any. On flex the activation is not stored: beside the inputs nothing
/// is kept for the backward pass, which gives both gradients in one pass.
///
/// # Panics
/// If the shapes differ.
pub fn gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>, kind: Activation) -> Tensor<D> {
    assert_eq!(gate.dims(), up.dims(), "gated: gate and up differ in shape");
    try_fast!(
        gate,
        fused_gated(gate.into_dispatch(), up.into_dispatch(), kind)
    );
    portable::gated(gate, up, kind)
}
