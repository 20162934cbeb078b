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

/// Gaussian error linear unit, element by element (Hendrycks and Gimpel 2016).
///
/// Any shape. NaN stays NaN, and minus infinity gives NaN, the product of infinity and 0.
pub fn gelu<const D: usize>(x: Tensor<D>, kind: GeluKind) -> Tensor<D> {
    try_fast!(x, fused_gelu(x.into_dispatch(), kind));
    portable::gelu(x, kind)
}
