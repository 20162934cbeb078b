//! Parts that models of several kinds are made of.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{FloatDType, Int},
};
use peft_core::{
    AdapterContext,
    kernels::{self, Lookup, NormParameters},
    nn::Linear,
};

use crate::transparent::transparent;

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The vectors of `ids`, `[rows]`, to be read with those of other tables; a single id is that of
    /// all rows.
    pub(crate) fn lookup(&self, ids: Tensor<1, Int>) -> Lookup {
        Lookup {
            table: self.weight.val(),
            ids,
        }
    }

    /// The vectors of `ids`, `[rows, width]`, in the type of the computation.
    pub(crate) fn rows(&self, ids: Tensor<1, Int>, dtype: FloatDType) -> Tensor<2> {
        self.weight.val().select(0, ids).cast(dtype)
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

    /// Normalise the sums of the vectors of three tables.
    pub(crate) fn forward_embeddings(
        &self,
        word: Lookup,
        position: Lookup,
        token_type: Option<Lookup>,
    ) -> Tensor<2> {
        let norm = NormParameters {
            gamma: self.weight.val(),
            beta: self.bias.val(),
            eps: self.eps,
        };
        kernels::embedding_layer_norm(word, Some(position), token_type, norm)
    }

    /// Normalise the rows of `x + residual`.
    pub fn forward_residual(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        kernels::add_layer_norm(x, residual, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Normalisation by the root of the mean square, `x / √(mean(x²) + ε) · weight`, or times one more than
/// the weight.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    /// ε, added to the mean square.
    #[module(skip)]
    pub eps: f64,
    /// Whether the factor is `1 + weight` (Gemma).
    #[module(skip)]
    pub plus_one: bool,
}

impl RmsNorm {
    /// Normalise over the last dimension of `x`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        let weight = if self.plus_one { weight + 1.0 } else { weight };
        kernels::rms_norm(x, weight, self.eps)
    }
}

/// Either norm.
#[derive(Debug, Clone)]
pub enum Norm {
    /// Layer normalisation.
    Layer(LayerNorm),
    /// By the root of the mean square.
    Rms(RmsNorm),
}

transparent!(Norm { Layer, Rms });

impl Norm {
    /// Normalise the rows of `x`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => norm.forward(x),
        }
    }
}

/// A linear layer whose weight the checkpoint holds as `[in, out]` (GPT-2's `Conv1D`): in memory the
/// same as any other.
#[derive(Module, Debug)]
pub struct TransposedLinear {
    /// The weight, `[in, out]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// A linear layer, however the checkpoint holds its weight.
#[derive(Debug, Clone)]
pub enum Projection {
    /// As `[out, in]`.
    Linear(Linear),
    /// As `[in, out]`.
    Transposed(TransposedLinear),
}

transparent!(Projection { Linear, Transposed });

impl Projection {
    /// The product, `[rows, in] -> [rows, out]`.
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        match self {
            Self::Linear(linear) => linear.forward(x, context),
            Self::Transposed(linear) => linear.forward(x, context),
        }
    }
}

impl TransposedLinear {
    /// The product, `[rows, in] -> [rows, out]`.
    pub fn forward(&self, x: Tensor<2>, _context: &AdapterContext) -> Tensor<2> {
        let bias = self.bias.as_ref().map(Param::val);
        kernels::linear(x, self.weight.val(), bias)
    }
}

/// The value of a plain parameter.
pub(crate) fn parameter<const D: usize>(
    param: &Param<Tensor<D>>,
    _context: &AdapterContext,
) -> Tensor<D> {
    param.val()
}

/// Drops values of `x` in training, where `place` says which.
pub(crate) fn dropped(x: Tensor<2>, context: &AdapterContext, p: f64, place: u64) -> Tensor<2> {
    match context.dropout(p, place) {
        Some(dropout) => kernels::dropout(x, dropout),
        None => x,
    }
}
