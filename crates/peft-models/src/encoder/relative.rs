//! Attention that knows how far apart tokens are.

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, Int, TensorData},
};
use peft_core::{
    AdapterContext, KeyValues,
    kernels::{AttentionOptions, biased_attention},
    nn::Embedding,
};

use super::Layer;
use crate::{
    Disentangled, EncoderConfig, ModelError, PackedBatch, RelativePositions,
    loader::Loader,
    parts::{LayerNorm, attend_by, dropped},
};

/// The table of the distances of tokens, which all layers share.
#[derive(Module, Debug)]
pub struct Relative {
    /// Of each bucket of distances: a number for every head, or a vector of the model's width.
    pub table: Embedding,
    /// Norm of the vectors.
    pub norm: Option<LayerNorm>,
    /// What the attention makes of it.
    #[module(skip)]
    pub kind: RelativePositions,
}

/// The attention of one layer in one pass.
pub(super) struct At<'a> {
    pub layer: &'a Layer,
    pub batch: &'a PackedBatch,
    pub options: AttentionOptions,
    /// Dropout of the vectors of distances, and its place.
    pub dropout: (f64, u64),
    /// That of rows of tokens.
    pub context: &'a AdapterContext,
}

impl Relative {
    /// The table of a path, if the model has one.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &EncoderConfig,
    ) -> Result<Option<Self>, ModelError> {
        let Some(kind) = config.relative else {
            return Ok(None);
        };
        let eps = config.layer_norm_eps;
        Ok(Some(Self {
            table: loader.embedding(&format!("{path}.table"))?,
            norm: loader.optional(&format!("{path}.norm"), |loader, path| {
                loader.layer_norm(path, eps)
            })?,
            kind,
        }))
    }

    /// Attention within the sequences of a batch, whose scores know the distances.
    pub(super) fn attend(&self, query: Tensor<2>, seen: KeyValues, at: &At<'_>) -> Tensor<2> {
        let rows = &at.batch.rows;
        // Where rows choose adapters, these are other ones for the table, too.
        let sequences = at.batch.of_sequences(at.context);
        let (contexts, of) = sequences.by_choice(rows.len());
        attend_by(query, seen, [rows, rows], &at.options, |part| {
            let of: Vec<usize> = match part.members {
                Some(members) => members.iter().map(|one| of[*one]).collect(),
                None => of.clone(),
            };
            let bias = |query: &Tensor<4>, key: &Tensor<4>| match self.kind {
                RelativePositions::Bias => self.numbers(query, &contexts, &of),
                RelativePositions::Disentangled(own) => {
                    self.vectors([query, key], own, &contexts, &of, at)
                }
            };
            let (q, k, v) = (part.query, part.keys, part.values);
            biased_attention(q, k, v, part.prefix, part.rows[0], &part.options, bias)
        })
    }

    /// A number for every head, query and key, `[1 or N, H, L, L]`.
    fn numbers(&self, query: &Tensor<4>, contexts: &[AdapterContext], of: &[usize]) -> Tensor<4> {
        let [_, heads, length, _] = query.dims();
        let device = query.device();
        let ids = ints(buckets(self.kind, length).map(|row| row as i64), &device);
        let of_each = contexts.iter().map(|context| {
            let numbers = self.table.forward(ids.clone(), context);
            let numbers = numbers.cast(query.dtype());
            numbers
                .reshape([length, length, heads])
                .permute([2, 0, 1])
                .reshape([1, heads, length, length])
        });
        chosen(of_each.collect(), of)
    }

    /// Products of queries with keys of distances and of keys with queries of distances, `[N, H, L, L]`.
    fn vectors(
        &self,
        [query, key]: [&Tensor<4>; 2],
        own: Disentangled,
        contexts: &[AdapterContext],
        of: &[usize],
        at: &At<'_>,
    ) -> Tensor<4> {
        let shape @ [_, heads, length, width] = query.dims();
        let device = query.device();
        // Of the table, a batch reads the rows between those of its farthest pairs.
        let farthest = length as i64 - 1;
        let first = self.kind.bucket(-farthest);
        let count = self.kind.bucket(farthest) + 1 - first;
        let ids = ints((first..first + count).map(|row| row as i64), &device);
        let projected = |linear: &peft_core::nn::Linear| {
            let of_each = contexts.iter().map(|context| {
                let rows = self.table.forward(ids.clone(), context);
                let rows = rows.cast(query.dtype());
                let rows = match &self.norm {
                    Some(norm) => norm.forward(rows, context),
                    None => rows,
                };
                let (probability, place) = at.dropout;
                let rows = dropped(rows, context, probability, place);
                // An adapter drops other values here than of the tokens' rows.
                linear
                    .forward(rows, &context.after_passes(1))
                    .reshape([1, count, heads, width])
                    .permute([0, 2, 3, 1])
            });
            chosen(of_each.collect(), of)
        };
        // By query and key, the row of their distance among those that are read.
        let rows: Vec<usize> = buckets(self.kind, length).map(|row| row - first).collect();
        let index = |turned: bool| {
            let place = |at: usize| match turned {
                true => rows[at % length * length + at / length],
                false => rows[at],
            };
            let index = ints((0..rows.len()).map(|at| place(at) as i64), &device);
            index
                .reshape([1, 1, length, length])
                .expand([shape[0], heads, length, length])
        };
        let mut scores = Vec::new();
        if own.content_to_position {
            let all = query.clone().matmul(projected(&at.layer.key));
            scores.push(all.gather(3, index(false)));
        }
        if own.position_to_content {
            let all = key.clone().matmul(projected(&at.layer.query));
            scores.push(all.gather(3, index(true)).swap_dims(2, 3));
        }
        let sum = scores.into_iter().reduce(|sum, part| sum + part);
        match sum {
            Some(sum) => sum * at.options.scale,
            None => Tensor::zeros([1, heads, length, length], (&device, query.dtype())),
        }
    }
}

/// Rows of the table for each query and, within, each key of sequences of a length.
fn buckets(kind: RelativePositions, length: usize) -> impl Iterator<Item = usize> {
    // There are few distances, and a bucket may take a logarithm.
    let farthest = length as i64 - 1;
    let rows: Vec<usize> = (-farthest..=farthest)
        .map(|distance| kind.bucket(distance))
        .collect();
    (0..length * length).map(move |at| rows[at / length + length - 1 - at % length])
}

/// What each sequence has of what contexts made, `[1, …]` each: one for all where there is one.
fn chosen(made: Vec<Tensor<4>>, of: &[usize]) -> Tensor<4> {
    let all = Tensor::cat(made, 0);
    if all.dims()[0] == 1 {
        return all;
    }
    let device = all.device();
    all.select(0, ints(of.iter().map(|one| *one as i64), &device))
}

fn ints(values: impl Iterator<Item = i64>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}
