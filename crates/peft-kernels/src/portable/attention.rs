use burn::tensor::{Tensor, activation};

use super::dropout::mask_tensor;
use crate::{AttentionOptions, Dropout, RowLayout, attention_keep};

/// [`attention`](crate::attention) by Burn's operations: rows are padded to the longest sequence,
/// and back.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    let [t, width] = q.dims();
    if t == 0 {
        return q;
    }
    let (n, len) = (rows.len(), rows.max_len());
    let group = opts.heads / opts.kv_heads;
    let d = width / opts.heads;

    let q = split(pad(q, rows), n, len, opts.heads);
    let [k, v] = [k, v].map(|x| {
        let x = split(pad(x, rows), n, len, opts.kv_heads);
        if group == 1 {
            return x;
        }
        x.reshape([n, opts.kv_heads, 1, len, d])
            .expand([n, opts.kv_heads, group, len, d])
            .reshape([n, opts.heads, len, d])
    });

    let mut scores = q.matmul(k.swap_dims(2, 3)) * opts.scale;
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
    let mut weights = activation::softmax(scores, 3);
    if let Some(dropout) = opts.dropout {
        let mask = mask_tensor(weight_mask(rows, opts.heads, dropout), shape, &weights);
        weights = weights * mask;
    }
    let out = weights.matmul(v).swap_dims(1, 2).reshape([n * len, width]);
    if rows.is_uniform() {
        out
    } else {
        out.select(0, rows.padding().scatter.clone())
    }
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

/// The mask of the weights, `[n, heads, max_len, max_len]`, 0 over padding.
fn weight_mask(rows: &RowLayout, heads: usize, dropout: Dropout) -> Vec<f64> {
    let (len, scale) = (rows.max_len(), dropout.scale());
    let mut mask = vec![0.0; rows.len() * heads * len * len];
    let mut lines = mask.chunks_exact_mut(len);
    for span in rows.starts().windows(2) {
        for head in 0..heads {
            for (offset, line) in lines.by_ref().take(len).enumerate() {
                let row = span[0] + offset;
                if row >= span[1] {
                    continue;
                }
                let rule = attention_keep(dropout.key, head, row, dropout.probability);
                for (j, weight) in line[..span[1] - span[0]].iter_mut().enumerate() {
                    *weight = if rule.at(j as u64) { scale } else { 0.0 };
                }
            }
        }
    }
    mask
}
