use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Int,
};
use peft_core::kernels::{self, Lookup, NormParameters};

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
