use burn::tensor::Tensor;

use crate::route::try_fast;
use crate::{Dropout, Keep, RowLayout, portable};

/// How [`attention`] reads its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Query heads `H`.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`. Query head `h` reads key head
    /// `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Factor of the scores, as a rule `1/√D`.
    pub scale: f64,
    /// Whether a query sees only itself and the rows before it.
    pub causal: bool,
    /// Dropout of the attention weights, in training.
    pub dropout: Option<Dropout>,
}

/// Softmax attention within each sequence of a packed batch.
///
/// For each sequence and head: `softmax(q kᵀ · scale) v`. `q` is `[T, H·D]`, `k` and `v` are
/// `[T, Hkv·D]`, the output is `[T, H·D]`; `T` is `rows.rows()`. No row sees another sequence, and
/// no score is computed for padding on flex, where only the output and one log-sum-exp for each row
/// and head are kept for the backward pass.
///
/// Dropout follows [`attention_keep`](crate::attention_keep).
///
/// # Panics
/// If the shapes, head counts and rows disagree, or the dropout probability is not in `[0, 1]`.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    check(&q, &k, &v, rows, opts);
    #[cfg(feature = "flex")]
    let plan = crate::ops::AttentionPlan {
        starts: rows.shared_starts(),
        heads: opts.heads,
        kv_heads: opts.kv_heads,
        scale: opts.scale,
        causal: opts.causal,
        dropout: opts.dropout.filter(|d| d.probability > 0.0),
    };
    try_fast!(
        q,
        packed_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            plan
        )
    );
    portable::attention(q, k, v, rows, opts)
}

fn check(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, rows: &RowLayout, o: &AttentionOptions) {
    let ([t, width], [k_rows, kv_width]) = (q.dims(), k.dims());
    assert!(
        o.heads > 0 && o.kv_heads > 0 && o.heads.is_multiple_of(o.kv_heads),
        "attention: kv_heads {} must divide heads {}",
        o.kv_heads,
        o.heads
    );
    assert!(
        width > 0 && width.is_multiple_of(o.heads) && width / o.heads * o.kv_heads == kv_width,
        "attention: q is {width} wide for {} heads, k {kv_width} for {}",
        o.heads,
        o.kv_heads
    );
    assert_eq!(k.dims(), v.dims(), "attention: k and v differ in shape");
    assert!(
        t == rows.rows() && k_rows == t,
        "attention: q has {t} rows, k {k_rows}, the layout {}",
        rows.rows()
    );
    if let Some(d) = o.dropout {
        let _checked = Keep::new(d.key, d.probability);
    }
}
