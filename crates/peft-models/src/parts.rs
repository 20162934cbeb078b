//! Parts that models of several kinds are made of.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Int,
};
use peft_core::{
    AdapterContext, KeyValues,
    kernels::{self, AttentionOptions, Lookup, NormParameters, RowLayout},
    nn::{Embedding, LanguageHead, Linear, TransposedLinear, parameter},
};

use crate::transparent::transparent;

/// The vectors of `ids`, `[rows]`, to be read with those of other tables; a single id is that of all
/// rows. Those of an adapted table are read one by one before.
pub(crate) fn lookup(table: &Embedding, ids: Tensor<1, Int>, context: &AdapterContext) -> Lookup {
    if table.is_adapted() {
        let rows = table.forward(ids, context);
        let all = 0..rows.dims()[0] as i64;
        return Lookup {
            ids: Tensor::arange(all, &rows.device()),
            table: rows,
        };
    }
    Lookup {
        table: parameter(&table.weight, context),
        ids,
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
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let (weight, bias) = self.parameters(context);
        kernels::layer_norm(x, weight, bias, self.eps)
    }

    /// Normalise the sums of the vectors of three tables.
    pub(crate) fn forward_embeddings(
        &self,
        word: Lookup,
        position: Lookup,
        token_type: Option<Lookup>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let (gamma, beta) = self.parameters(context);
        let norm = NormParameters {
            gamma,
            beta,
            eps: self.eps,
        };
        kernels::embedding_layer_norm(word, Some(position), token_type, norm)
    }

    /// Normalise the rows of `x + residual`.
    pub fn forward_residual(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let (weight, bias) = self.parameters(context);
        kernels::add_layer_norm(x, residual, weight, bias, self.eps)
    }

    fn parameters(&self, context: &AdapterContext) -> (Tensor<1>, Tensor<1>) {
        (
            parameter(&self.weight, context),
            parameter(&self.bias, context),
        )
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
    pub fn forward<const D: usize>(&self, x: Tensor<D>, context: &AdapterContext) -> Tensor<D> {
        let weight = parameter(&self.weight, context);
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
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        match self {
            Self::Layer(norm) => norm.forward(x, context),
            Self::Rms(norm) => norm.forward(x, context),
        }
    }
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

/// Drops values of `x` in training, where `place` says which: another one at every depth.
pub(crate) fn dropped(x: Tensor<2>, context: &AdapterContext, p: f64, place: u64) -> Tensor<2> {
    match context.dropout_of_depth(p, place) {
        Some(dropout) => kernels::dropout(x, dropout),
        None => x,
    }
}

/// The head of a language model: a layer of its own, or the table of the tokens read the other way round.
pub(crate) fn language_head(
    own: Option<&Linear>,
    table: &Embedding,
    context: AdapterContext,
) -> LanguageHead {
    match own {
        Some(linear) => LanguageHead::new(linear.clone(), context),
        None => LanguageHead::tied(table, context),
    }
}

/// Attention to keys and values, and to those that were put before every sequence's.
pub(crate) fn attend(
    query: Tensor<2>,
    seen: KeyValues,
    rows: &RowLayout,
    options: &AttentionOptions,
) -> Tensor<2> {
    match seen.prefix {
        None => kernels::attention(query, seen.keys, seen.values, rows, options),
        Some(prefix) => {
            kernels::prefix_attention(query, seen.keys, seen.values, prefix, rows, options)
        }
    }
}
