use burn::tensor::Tensor;

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
    attend(q, k, v, None, rows, opts)
}

/// Keys and values that every row sees, whatever its sequence: the trained part of prefix tuning
/// (Li and Liang 2021).
#[derive(Clone, Debug)]
pub struct AttentionPrefix {
    /// Keys, `[P, Hkv·D]`.
    pub keys: Tensor<2>,
    /// Values, `[P, Hkv·D]`.
    pub values: Tensor<2>,
}

/// [`attention`] with a prefix before the keys and values of every sequence:
/// `softmax(q [K_prefix; k]ᵀ · scale) [V_prefix; v]`.
///
/// Shapes are those of [`attention`]. The prefix is before all rows, so that causal attention sees
/// all of it. For dropout, key `j` of a row is row `j` of the prefix, and key `P + j` row `j` of the
/// sequence. The gradient of the prefix is the sum over the sequences in their order.
///
/// # Panics
/// As [`attention`] does, or if keys and values of the prefix do not have the width of `k`.
pub fn prefix_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: AttentionPrefix,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    check(&q, &k, &v, rows, opts);
    let (keys, values, [_, width]) = (prefix.keys.dims(), prefix.values.dims(), k.dims());
    assert!(
        keys == values && keys[1] == width,
        "prefix_attention: prefix keys {keys:?} and values {values:?} must both be [P, {width}]"
    );
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
    #[cfg(feature = "flex")]
    if crate::route::is_fast(&q) {
        use burn::backend::Dispatch;
        let plan = crate::ops::AttentionPlan {
            starts: rows.shared_starts(),
            heads: opts.heads,
            kv_heads: opts.kv_heads,
            scale: opts.scale,
            causal: opts.causal,
            dropout: opts.dropout.filter(|d| d.probability > 0.0),
        };
        let none = || Tensor::empty([0, k.dims()[1]], (&q.device(), q.dtype()));
        let prefix = prefix.unwrap_or_else(|| AttentionPrefix {
            keys: none(),
            values: none(),
        });
        return Tensor::from_dispatch(<Dispatch as crate::ops::KernelOps>::packed_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            prefix.keys.into_dispatch(),
            prefix.values.into_dispatch(),
            plan,
        ));
    }
    match prefix {
        Some(prefix) => portable::prefix_attention(q, k, v, prefix, rows, opts),
        None => portable::attention(q, k, v, rows, opts),
    }
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
