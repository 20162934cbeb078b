use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{DType, Int},
};
use peft_core::kernels;

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The vectors of `ids`: `[rows] -> [rows, width]`.
    pub fn forward(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        widened(self.weight.val().select(0, ids))
    }

    /// The first vector, `[1, width]`.
    pub(crate) fn first(&self) -> Tensor<2> {
        widened(self.weight.val().narrow(0, 0, 1))
    }
}

/// A table may be stored in half precision; activations are not.
fn widened(x: Tensor<2>) -> Tensor<2> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    }
}

/// Layer normalisation `(x − mean) / √(var + ε) · weight + bias` over the features of a row.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    /// `[width]`.
    pub bias: Param<Tensor<1>>,
    /// ε, added to the variance.
    #[module(skip)]
    pub eps: f64,
}

impl LayerNorm {
    /// Normalise the rows of `x`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }

    /// Normalise the rows of `x + residual`.
    pub fn forward_residual(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        kernels::add_layer_norm(x, residual, self.weight.val(), self.bias.val(), self.eps)
    }
}
