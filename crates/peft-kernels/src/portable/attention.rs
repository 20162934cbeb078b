use burn::tensor::{Bool, Int, Tensor};

use super::dropout::mask_tensor;
use crate::rows::indices;
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
    cached_attention(q, k, v, None, rows, rows, opts)
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
    cached_attention(q, k, v, Some(prefix), rows, rows, opts)
}

/// [`cached_attention`](crate::cached_attention) by Burn's operations: queries and keys are padded to the longest
/// sequence of each.
pub fn cached_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: Option<AttentionPrefix>,
    queries: &RowLayout,
    keys: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    let rows = [queries, keys];
    let softmax = super::softmax;
    scored_attention(q, [k, v], prefix, rows, opts, softmax, |_, _, scores| {
        scores
    })
}

/// [`biased_attention`](crate::biased_attention).
pub fn biased_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: Option<AttentionPrefix>,
    rows: [&RowLayout; 2],
    opts: &AttentionOptions,
    bias: impl FnOnce(&Tensor<4>, &Tensor<4>) -> Tensor<4>,
) -> Tensor<2> {
    // Burn's own softmax is another one with gradients than without: blocks that are computed again would have other bits.
    let softmax = crate::softmax;
    scored_attention(q, [k, v], prefix, rows, opts, softmax, |q, k, scores| {
        scores + bias(q, k)
    })
}

/// Attention whose scores, `[n, H, queries, keys]`, become others before anything is hidden.
fn scored_attention(
    q: Tensor<2>,
    [k, v]: [Tensor<2>; 2],
    prefix: Option<AttentionPrefix>,
    [queries, keys]: [&RowLayout; 2],
    opts: &AttentionOptions,
    softmax: impl FnOnce(Tensor<4>) -> Tensor<4>,
    scored: impl FnOnce(&Tensor<4>, &Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Tensor<2> {
    let [t, width] = q.dims();
    if t == 0 {
        return q;
    }
    let (n, len, key_len) = (queries.len(), queries.max_len(), keys.max_len());
    let q = split(pad(q, queries), n, len, opts.heads);
    let [k, mut values] = [k, v].map(|x| heads(pad(x, keys), n, key_len, opts));
    let scores = capped(
        q.clone().matmul(k.clone().swap_dims(2, 3)) * opts.scale,
        opts,
    );
    let scores = scored(&q, &k, scores);
    let mut scores = if queries.starts() == keys.starts() && opts.window.is_none() {
        hide(scores, queries, opts.causal)
    } else {
        let shape = scores.dims();
        let hidden = hidden(queries, keys, opts);
        scores.mask_fill(hidden.expand(shape), f32::NEG_INFINITY)
    };
    let mut before = 0;
    if let Some(prefix) = prefix.filter(|prefix| prefix.keys.dims()[0] > 0) {
        before = prefix.keys.dims()[0];
        let d = width / opts.heads;
        let [keys, prefix_values] = [prefix.keys, prefix.values]
            .map(|x| heads(x, 1, before, opts).expand([n, opts.heads, before, d]));
        let seen = capped(q.matmul(keys.swap_dims(2, 3)) * opts.scale, opts);
        scores = Tensor::cat(vec![seen, scores], 3);
        values = Tensor::cat(vec![prefix_values, values], 2);
    }
    let mut weights = softmax(scores);
    if let Some(dropout) = opts.dropout {
        let shape = [n, opts.heads, len, before + key_len];
        let mask = weight_mask([queries, keys], opts.heads, before, dropout);
        weights = weights.clone() * mask_tensor(mask, shape, &weights);
    }
    let out = weights
        .matmul(values)
        .swap_dims(1, 2)
        .reshape([n * len, width]);
    if queries.is_uniform() {
        out
    } else {
        out.select(0, queries.padding().scatter.clone())
    }
}

fn capped(scores: Tensor<4>, opts: &AttentionOptions) -> Tensor<4> {
    match opts.softcap {
        // Not `div_scalar`: Burn's gradient of it rounds the divisor to single precision.
        Some(cap) => scores.mul_scalar(cap.recip()).tanh().mul_scalar(cap),
        None => scores,
    }
}

/// Hides padding and, if causal, what comes after a query, where queries and keys are the same rows.
fn hide(mut scores: Tensor<4>, rows: &RowLayout, causal: bool) -> Tensor<4> {
    let shape = scores.dims();
    if !rows.is_uniform() {
        let hidden = rows.padding().hidden.clone().expand(shape);
        scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
    }
    if causal {
        let future = rows.padding().future.clone().expand(shape);
        scores = scores.mask_fill(future, f32::NEG_INFINITY);
    }
    scores
}

/// `[n, 1, queries, keys]`, true where a key is hidden: padding, after the query, or out of its window.
fn hidden(queries: &RowLayout, keys: &RowLayout, opts: &AttentionOptions) -> Tensor<4, Bool> {
    let (n, len, key_len) = (queries.len(), queries.max_len(), keys.max_len());
    let shape = [n, 1, len, key_len];
    let lengths = |rows: &RowLayout| -> Vec<usize> {
        rows.starts().windows(2).map(|w| w[1] - w[0]).collect()
    };
    let (own, all) = (lengths(queries), lengths(keys));
    // Padding repeats the last position: a query that sees no key at all would make NaN.
    let positions = own.iter().zip(&all).flat_map(|(&own, &all)| {
        let position = move |i: usize| all - own + i.min(own - 1);
        (0..len).map(position)
    });
    let device = queries.device();
    let at: Tensor<4, Int> = indices(positions, device).reshape([n, 1, len, 1]);
    let at = at.expand(shape);
    let key: Tensor<4, Int> = indices(0..key_len, device).reshape([1, 1, 1, key_len]);
    let key = key.expand(shape);
    let all: Tensor<4, Int> = indices(all.into_iter(), device).reshape([n, 1, 1, 1]);
    let mut hidden = key.clone().greater_equal(all.expand(shape));
    if opts.causal {
        hidden = hidden.bool_or(key.clone().greater(at.clone()));
    }
    if let Some(window) = opts.window {
        // No window is longer than the keys; a number of any size would not fit the type.
        let window = window.min(key_len) as i32;
        hidden = hidden.bool_or(key.clone().add_scalar(window).lower_equal(at.clone()));
        if !opts.causal {
            hidden = hidden.bool_or(at.add_scalar(window).lower_equal(key));
        }
    }
    hidden
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

/// The mask of the weights, `[n, heads, queries, before + keys]` with `before` keys of a prefix, 0
/// over padding.
fn weight_mask(
    [queries, keys]: [&RowLayout; 2],
    heads: usize,
    before: usize,
    dropout: Dropout,
) -> Vec<f64> {
    let (len, key_len, scale) = (queries.max_len(), keys.max_len(), dropout.scale());
    let mut mask = vec![0.0; queries.len() * heads * len * (before + key_len)];
    let mut lines = mask.chunks_exact_mut(before + key_len);
    let spans = queries.starts().windows(2).zip(keys.starts().windows(2));
    for (span, key_span) in spans {
        for head in 0..heads {
            for (offset, line) in lines.by_ref().take(len).enumerate() {
                let row = span[0] + offset;
                if row >= span[1] {
                    continue;
                }
                let rule = attention_keep(dropout.key, head, row, dropout.probability);
                let keys = before + key_span[1] - key_span[0];
                for (j, weight) in line[..keys].iter_mut().enumerate() {
                    *weight = if rule.at(j as u64) { scale } else { 0.0 };
                }
            }
        }
    }
    mask
}
