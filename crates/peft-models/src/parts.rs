//! Parts that models of several kinds are made of.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Int, activation::relu},
};
use peft_core::{
    AdapterContext, KeyValues, Prefixes,
    kernels::{
        self, AttentionOptions, AttentionPrefix, GeluKind, Lookup, NormParameters, RowLayout,
    },
    nn::{
        Embedding, LanguageHead, Linear, TransposedLinear, bias_alone, has_set, parameter,
        rows_apart,
    },
};

use crate::{Activation, transparent::transparent};

/// The vectors of `ids`, `[rows]`, to be read with those of other tables; a single id is that of all
/// rows. Those of an adapted table are read one by one before.
pub(crate) fn lookup(table: &Embedding, ids: Tensor<1, Int>, context: &AdapterContext) -> Lookup {
    if table.is_adapted() {
        return in_order(table.forward(ids, context));
    }
    Lookup {
        table: parameter(&table.weight, context),
        ids,
    }
}

/// Rows as a table that is read row by row.
pub(crate) fn in_order(rows: Tensor<2>) -> Lookup {
    let all = 0..rows.dims()[0] as i64;
    Lookup {
        ids: Tensor::arange(all, &rows.device()),
        table: rows,
    }
}

/// Layer normalisation `(x − mean) / √(var + ε) · weight + bias` over the features of a row.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    /// `[width]`; none of all zeros (ModernBERT).
    pub bias: Option<Param<Tensor<1>>>,
    /// ε, added to the variance.
    #[module(skip)]
    pub eps: f64,
}

impl LayerNorm {
    /// Normalise the rows of `x`.
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        rows_apart(x, self.has_set(), context, |x, context| {
            let (weight, bias) = self.parameters(context);
            kernels::layer_norm(x, weight, bias, self.eps)
        })
    }

    /// Whether several adapters may share the norm.
    fn has_set(&self) -> bool {
        has_set(&self.weight) || self.bias.as_ref().is_some_and(has_set)
    }

    /// Normalise the sums of the vectors of up to three tables.
    pub(crate) fn forward_embeddings(
        &self,
        word: Lookup,
        position: Option<Lookup>,
        token_type: Option<Lookup>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        if self.has_set() {
            let vectors = |one: Lookup| kernels::embedding(one.table, one.ids);
            let sum = vectors(word);
            let sum = match position {
                Some(position) => sum + vectors(position),
                None => sum,
            };
            let sum = token_type.into_iter().fold(sum, |sum, one| {
                let width = sum.dims()[1];
                // One segment is that of all rows.
                match one.ids.dims() {
                    [1] => sum + vectors(one).reshape([1, width]),
                    _ => sum + vectors(one),
                }
            });
            return self.forward(sum, context);
        }
        let (gamma, beta) = self.parameters(context);
        let norm = NormParameters {
            gamma,
            beta,
            eps: self.eps,
        };
        kernels::embedding_layer_norm(word, position, token_type, norm)
    }

    /// Normalise the rows of `x + residual`.
    pub fn forward_residual(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let width = x.dims()[1];
        let both = match self.has_set() && context.is_by_rows() {
            true => Tensor::cat(vec![x, residual], 1),
            false => return self.add(x, residual, context),
        };
        rows_apart(both, true, context, |both, context| {
            let residual = both.clone().narrow(1, width, width);
            self.add(both.narrow(1, 0, width), residual, context)
        })
    }

    fn add(&self, x: Tensor<2>, residual: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let (weight, bias) = self.parameters(context);
        kernels::add_layer_norm(x, residual, weight, bias, self.eps)
    }

    fn parameters(&self, context: &AdapterContext) -> (Tensor<1>, Tensor<1>) {
        let weight = parameter(&self.weight, context);
        let bias = match &self.bias {
            Some(bias) => bias_alone(bias, context),
            None => Tensor::zeros(weight.dims(), (&weight.device(), weight.dtype())),
        };
        (weight, bias)
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
        if !(has_set(&self.weight) && context.is_by_rows()) {
            return self.normalised(x, context);
        }
        let shape = x.dims();
        let (width, last) = (shape[1..].iter().product(), shape[D - 1]);
        let rows = x.reshape([shape[0], width]);
        let rows = rows_apart(rows, true, context, |x, context| {
            let [rows, width] = x.dims();
            let x = self.normalised(x.reshape([rows * (width / last), last]), context);
            x.reshape([rows, width])
        });
        rows.reshape(shape)
    }

    fn normalised<const D: usize>(&self, x: Tensor<D>, context: &AdapterContext) -> Tensor<D> {
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

/// The nonlinearity of every value.
pub(crate) fn activated(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Gelu => kernels::gelu(x, GeluKind::Erf),
        Activation::GeluTanh => kernels::gelu(x, GeluKind::Tanh),
        Activation::Relu => relu(x),
        Activation::Tanh => x.tanh(),
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
    attend_to(query, seen, [rows, rows], options)
}

/// What an attention reads: all sequences of a batch, or some.
pub(crate) struct Attended<'a> {
    pub query: Tensor<2>,
    pub keys: Tensor<2>,
    pub values: Tensor<2>,
    pub prefix: Option<AttentionPrefix>,
    /// Layouts of queries and of keys.
    pub rows: [&'a RowLayout; 2],
    /// Which sequences these are, unless all.
    pub members: Option<&'a [usize]>,
    pub options: AttentionOptions,
}

/// The same where keys are of more rows than queries: those of a cache before their own. `rows` are the layouts of queries
/// and of keys.
pub(crate) fn attend_to(
    query: Tensor<2>,
    seen: KeyValues,
    rows: [&RowLayout; 2],
    options: &AttentionOptions,
) -> Tensor<2> {
    attend_by(query, seen, rows, options, |of| {
        let [queries, keys] = of.rows;
        kernels::cached_attention(
            of.query,
            of.keys,
            of.values,
            of.prefix,
            queries,
            keys,
            &of.options,
        )
    })
}

/// Attention as `attention` computes it, once for all sequences, or once for those of every prefix.
pub(crate) fn attend_by(
    query: Tensor<2>,
    seen: KeyValues,
    [queries, keys]: [&RowLayout; 2],
    options: &AttentionOptions,
    attention: impl Fn(Attended<'_>) -> Tensor<2>,
) -> Tensor<2> {
    let (k, v) = (seen.keys, seen.values);
    let all = |query, keys_of, values, prefix| {
        attention(Attended {
            query,
            keys: keys_of,
            values,
            prefix,
            rows: [queries, keys],
            members: None,
            options: *options,
        })
    };
    let (groups, of) = match seen.prefix {
        Prefixes::None => return all(query, k, v, None),
        Prefixes::All(prefix) => return all(query, k, v, Some(prefix)),
        Prefixes::Apart { groups, of } => (groups, of),
    };
    // Sequences of one prefix have an attention of their own.
    let device = query.device();
    let mut given: Vec<Option<Tensor<2>>> = vec![None; queries.len()];
    for (group, prefix) in groups.into_iter().enumerate() {
        let members: Vec<usize> = (0..of.len()).filter(|one| of[*one] == group).collect();
        if members.is_empty() {
            continue;
        }
        let part = |x: &Tensor<2>, layout: &RowLayout| {
            let spans = members.iter().map(|one| &layout.starts()[*one..one + 2]);
            let rows = spans.map(|span| x.clone().narrow(0, span[0], span[1] - span[0]));
            Tensor::cat(rows.collect(), 0)
        };
        let own = |layout: &RowLayout| {
            let mut starts = vec![0];
            for one in &members {
                let length = layout.starts()[one + 1] - layout.starts()[*one];
                starts.push(starts[starts.len() - 1] + length);
            }
            RowLayout::new(starts, &device)
        };
        let (rows, seen) = (own(queries), own(keys));
        let mut options = *options;
        if let Some(dropout) = &mut options.dropout
            && group > 0
        {
            // Rows are counted anew in every group.
            dropout.key = kernels::mix_key(dropout.key, &[group as u64]);
        }
        let y = attention(Attended {
            query: part(&query, queries),
            keys: part(&k, keys),
            values: part(&v, keys),
            prefix,
            rows: [&rows, &seen],
            members: Some(&members),
            options,
        });
        for (member, span) in members.iter().zip(rows.starts().windows(2)) {
            given[*member] = Some(y.clone().narrow(0, span[0], span[1] - span[0]));
        }
    }
    Tensor::cat(given.into_iter().flatten().collect(), 0)
}
