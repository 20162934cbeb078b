//! Attention of packed rows that see no later row of their sequence.

use burn::{
    Tensor,
    tensor::{Bool, TensorData},
};
use peft_core::{
    KeyValues,
    kernels::{AttentionOptions, RowLayout, softmax},
};

use crate::parts;

/// What a block's attention adds to the plain causal one.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many keys a query sees, its own among them.
    pub window: Option<usize>,
    /// Limit of the scores.
    pub softcap: Option<f64>,
}

/// Causal attention with limits; shapes are those of [`attention`](peft_core::kernels::attention).
///
/// # Panics
/// If there are limits and a slot has put keys and values before those of the sequences.
pub fn attend(
    q: Tensor<2>,
    seen: KeyValues,
    rows: &RowLayout,
    options: &AttentionOptions,
    limits: Limits,
) -> Tensor<2> {
    let window = limits.window.filter(|window| *window < rows.max_len());
    if window.is_none() && limits.softcap.is_none() {
        return parts::attend(q, seen, rows, options);
    }
    let (k, v) = (seen.keys, seen.values);
    // A window or a cap over a prefix has no agreed meaning.
    assert!(
        seen.prefix.is_none(),
        "keys and values put before a sequence cannot be combined with a window or a soft cap"
    );
    let spans = rows
        .starts()
        .windows(2)
        .map(|span| (span[0], span[1] - span[0]));
    let outputs = spans.map(|(start, len)| {
        let part = |x: &Tensor<2>, heads: usize| {
            let width = x.dims()[1] / heads;
            let x = x.clone().narrow(0, start, len);
            x.reshape([len, heads, width]).swap_dims(0, 1)
        };
        let group = options.heads / options.kv_heads;
        let each = |x: Tensor<3>| {
            let [heads, len, width] = x.dims();
            let x = x
                .reshape([heads, 1, len, width])
                .expand([heads, group, len, width]);
            x.reshape([heads * group, len, width])
        };
        let q = part(&q, options.heads);
        let [k, v] = [&k, &v].map(|x| each(part(x, options.kv_heads)));
        let mut scores = q.matmul(k.swap_dims(1, 2)) * options.scale;
        if let Some(cap) = limits.softcap {
            scores = (scores / cap).tanh() * cap;
        }
        let hidden: Tensor<3, Bool> = hidden(len, window, &scores).expand(scores.dims());
        let weights = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY));
        let out = weights.matmul(v).swap_dims(0, 1);
        let width = out.dims()[1] * out.dims()[2];
        out.reshape([len, width])
    });
    Tensor::cat(outputs.collect(), 0)
}

/// `[1, len, len]`, true where a query does not see a key.
fn hidden(len: usize, window: Option<usize>, scores: &Tensor<3>) -> Tensor<3, Bool> {
    let window = window.unwrap_or(len);
    let sees = |query: usize, key: usize| key <= query && key + window > query;
    let hidden = (0..len).flat_map(|query| (0..len).map(move |key| !sees(query, key)));
    let hidden: Vec<bool> = hidden.collect();
    Tensor::from_data(TensorData::new(hidden, [1, len, len]), &scores.device())
}
