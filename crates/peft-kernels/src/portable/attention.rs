use burn::tensor::{Tensor, activation};

use super::dropout::mask_tensor;
use crate::{AttentionOptions, AttentionPrefix, Dropout, RowLayout, attention_keep};

/// [`attention`](crate::attention) by Burn's operations: rows are padded to the longest sequence,
/// and back.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    attend(q, k, v, None, rows, opts)
}

/// [`prefix_attention`](crate::prefix_attention) by Burn's operations.
pub fn prefix_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: AttentionPrefix,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    attend(q, k, v, Some(prefix), rows, opts)
}

fn attend(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: Option<AttentionPrefix>,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    let [t, width] = q.dims();
    if t == 0 {
        return q;
    }
    let (n, len) = (rows.len(), rows.max_len());
    let q = split(pad(q, rows), n, len, opts.heads);
    let [k, mut values] = [k, v].map(|x| heads(pad(x, rows), n, len, opts));
    let mut scores = q.clone().matmul(k.swap_dims(2, 3)) * opts.scale;
    let shape = [n, opts.heads, len, len];
    if !rows.is_uniform() {
        scores = scores.mask_fill(
            rows.padding().hidden.clone().expand(shape),
            f32::NEG_INFINITY,
        );
    }
    if opts.causal {
        scores = scores.mask_fill(
            rows.padding().future.clone().expand(shape),
            f32::NEG_INFINITY,
        );
    }
    let mut before = 0;
    if let Some(prefix) = prefix.filter(|prefix| prefix.keys.dims()[0] > 0) {
        before = prefix.keys.dims()[0];
        let d = width / opts.heads;
        let [keys, prefix_values] = [prefix.keys, prefix.values]
            .map(|x| heads(x, 1, before, opts).expand([n, opts.heads, before, d]));
        let seen = q.matmul(keys.swap_dims(2, 3)) * opts.scale;
        scores = Tensor::cat(vec![seen, scores], 3);
        values = Tensor::cat(vec![prefix_values, values], 2);
    }
    let mut weights = activation::softmax(scores, 3);
    if let Some(dropout) = opts.dropout {
        let shape = [n, opts.heads, len, before + len];
        let mask = weight_mask(rows, opts.heads, before, dropout);
        weights = weights.clone() * mask_tensor(mask, shape, &weights);
    }
    let out = weights
        .matmul(values)
        .swap_dims(1, 2)
        .reshape([n * len, width]);
    if rows.is_uniform() {
        out
    } else {
        out.select(0, rows.padding().scatter.clone())
    }
}

/// Keys or values, `[n · len, Hkv · d]`, for every query head, `[n, H, len, d]`.
fn heads(x: Tensor<2>, n: usize, len: usize, opts: &AttentionOptions) -> Tensor<4> {
    let group = opts.heads / opts.kv_heads;
    let x = split(x, n, len, opts.kv_heads);
    if group == 1 {
        return x;
    }
    let d = x.dims()[3];
    x.reshape([n, opts.kv_heads, 1, len, d])
        .expand([n, opts.kv_heads, group, len, d])
        .reshape([n, opts.heads, len, d])
}

/// `[T, w]` to `[n · max_len, w]`.
fn pad(x: Tensor<2>, rows: &RowLayout) -> Tensor<2> {
    if rows.is_uniform() {
        x
    } else {
        x.select(0, rows.padding().gather.clone())
    }
}

/// `[n · len, heads · d]` to `[n, heads, len, d]`.
fn split(x: Tensor<2>, n: usize, len: usize, heads: usize) -> Tensor<4> {
    let d = x.dims()[1] / heads;
    x.reshape([n, len, heads, d]).swap_dims(1, 2)
}

/// The mask of the weights, `[n, heads, max_len, before + max_len]` with `before` keys of a prefix, 0
/// over padding.
fn weight_mask(rows: &RowLayout, heads: usize, before: usize, dropout: Dropout) -> Vec<f64> {
    let (len, scale) = (rows.max_len(), dropout.scale());
    let mut mask = vec![0.0; rows.len() * heads * len * (before + len)];
    let mut lines = mask.chunks_exact_mut(before + len);
    for span in rows.starts().windows(2) {
        for head in 0..heads {
            for (offset, line) in lines.by_ref().take(len).enumerate() {
                let row = span[0] + offset;
                if row >= span[1] {
                    continue;
                }
                let rule = attention_keep(dropout.key, head, row, dropout.probability);
                let keys = before + span[1] - span[0];
                for (j, weight) in line[..keys].iter_mut().enumerate() {
                    *weight = if rule.at(j as u64) { scale } else { 0.0 };
                }
            }
        }
    }
    mask
}
