use burn::tensor::Tensor;

use crate::{Dropout, Keep, RowLayout, portable};

/// How [`attention`] reads its inputs: made by [`AttentionOptions::new`], then changed.
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
    /// A sliding window: the query at position `i` of its sequence sees the key at `j` if `i − window < j ≤ i`, and where the
    /// attention is not causal if `|i − j| < window`.
    pub window: Option<usize>,
    /// A bound `c` of the scores, as Gemma 2 has it: after the scale and before anything is hidden, a score `s` becomes
    /// `c · tanh(s / c)`.
    pub softcap: Option<f64>,
}

impl AttentionOptions {
    /// Attention of every row to every row of its sequence, without dropout or a bound of the scores.
    #[must_use]
    pub const fn new(heads: usize, kv_heads: usize, scale: f64) -> Self {
        Self {
            heads,
            kv_heads,
            scale,
            causal: false,
            dropout: None,
            window: None,
            softcap: None,
        }
    }
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
/// If the shapes, head counts and rows disagree, the dropout probability is not in `[0, 1]`, the window is 0, or the bound of the scores is not positive.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rows: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    check(&q, [&k, &v], None, [rows, rows], opts);
    attend(q, [k, v], None, [rows, rows], opts)
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
/// all of it, and no window hides it. For dropout, key `j` of a row is row `j` of the prefix, and key `P + j` row `j` of the
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
    check(&q, [&k, &v], Some(&prefix), [rows, rows], opts);
    attend(q, [k, v], Some(prefix), [rows, rows], opts)
}

/// [`attention`] of new rows to all rows of their sequences so far, which a cache holds: the queries of a sequence are at
/// the positions of its last keys.
///
/// `q` is `[T, H·D]` with the rows of `queries`; `k` and `v` are `[S, Hkv·D]` with the rows of `keys`, a sequence's new
/// rows behind its old ones. Both layouts have the same sequences in the same order, and no sequence has more queries than
/// keys. A prefix is before all keys, as in [`prefix_attention`].
///
/// # Panics
/// If the shapes, head counts, rows or layouts disagree, the dropout probability is not in `[0, 1]`, the window is 0, or the bound of the scores is not positive.
pub fn cached_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: Option<AttentionPrefix>,
    queries: &RowLayout,
    keys: &RowLayout,
    opts: &AttentionOptions,
) -> Tensor<2> {
    assert_eq!(
        queries.len(),
        keys.len(),
        "cached_attention: as many sequences of queries as of keys"
    );
    let spans = queries.starts().windows(2).zip(keys.starts().windows(2));
    for (sequence, (queries, keys)) in spans.enumerate() {
        let [queries, keys] = [queries, keys].map(|w| w[1] - w[0]);
        assert!(
            queries <= keys,
            "cached_attention: sequence {sequence} has {queries} queries, but {keys} keys"
        );
    }
    check(&q, [&k, &v], prefix.as_ref(), [queries, keys], opts);
    attend(q, [k, v], prefix, [queries, keys], opts)
}

/// [`attention`] with numbers added to its scores: `softmax(q kᵀ · scale + bias) v` for each sequence and head.
///
/// `bias` makes them of queries and keys as heads of padded sequences, `[N, H, L, D]` for `N` sequences of `L` rows at most:
/// `[N, H, L, L]`, or `[1, H, L, L]` if they are those of all sequences. Scores of padding count for nothing. A prefix is before
/// all keys, as in [`prefix_attention`], and nothing is added to its scores. All scores exist at once, for they are made by
/// Burn's operations.
///
/// # Panics
/// As [`prefix_attention`] does, or if what `bias` gives is of another shape.
pub fn biased_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    prefix: Option<AttentionPrefix>,
    rows: &RowLayout,
    opts: &AttentionOptions,
    bias: impl FnOnce(&Tensor<4>, &Tensor<4>) -> Tensor<4>,
) -> Tensor<2> {
    check(&q, [&k, &v], prefix.as_ref(), [rows, rows], opts);
    portable::biased_attention(q, k, v, prefix, [rows, rows], opts, bias)
}

fn attend(
    q: Tensor<2>,
    [k, v]: [Tensor<2>; 2],
    prefix: Option<AttentionPrefix>,
    [queries, keys]: [&RowLayout; 2],
    opts: &AttentionOptions,
) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if crate::route::is_fast(&q) {
        use burn::backend::Dispatch;
        let plan = crate::ops::AttentionPlan {
            starts: queries.shared_starts(),
            key_starts: keys.shared_starts(),
            heads: opts.heads,
            kv_heads: opts.kv_heads,
            scale: opts.scale,
            causal: opts.causal,
            window: opts.window,
            softcap: opts.softcap,
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
    portable::cached_attention(q, k, v, prefix, queries, keys, opts)
}

fn check(
    q: &Tensor<2>,
    [k, v]: [&Tensor<2>; 2],
    prefix: Option<&AttentionPrefix>,
    [queries, keys]: [&RowLayout; 2],
    o: &AttentionOptions,
) {
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
        t == queries.rows() && k_rows == keys.rows(),
        "attention: q has {t} rows, k {k_rows}, the layout {} and {}",
        queries.rows(),
        keys.rows()
    );
    if let Some(prefix) = prefix {
        let (keys, values) = (prefix.keys.dims(), prefix.values.dims());
        assert!(
            keys == values && keys[1] == kv_width,
            "attention: prefix keys {keys:?} and values {values:?} must both be [P, {kv_width}]"
        );
    }
    assert!(
        o.window != Some(0),
        "attention: a window has one key at least"
    );
    assert!(
        o.softcap.is_none_or(|cap| cap > 0.0 && cap.is_finite()),
        "attention: the bound of the scores is {:?}, but must be positive",
        o.softcap
    );
    if let Some(d) = o.dropout {
        let _checked = Keep::new(d.key, d.probability);
    }
}
