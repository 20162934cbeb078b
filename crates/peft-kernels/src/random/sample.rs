//! Samples: what the words of a stream become.

use super::key::{mix_key, word};

/// 2⁻⁵³, the spacing of the 53-bit fractions.
const ULP53: f64 = 1.0 / (1_u64 << 53) as f64;

/// Decides which elements dropout keeps: the rule of [`keep`] with its constants worked out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    key: u64,
    threshold: u64,
}

impl Keep {
    /// The rule for one stream and one probability of dropping.
    ///
    /// # Panics
    /// If `probability` is not in `[0, 1]`.
    #[must_use]
    pub fn new(key: u64, probability: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "dropout: the probability must lie in [0, 1], got {probability}"
        );
        // An integer bound decides exactly as `fraction >= probability` does, and vectorises.
        let threshold = (probability * (1_u64 << 53) as f64).ceil() as u64;
        Self { key, threshold }
    }

    /// Whether element `index` stays.
    #[inline(always)]
    #[must_use]
    pub fn at(self, index: u64) -> bool {
        (word(self.key, index) >> 11) >= self.threshold
    }
}

/// Whether dropout keeps element `index`: `⌊word(key, index) / 2¹¹⌋ · 2⁻⁵³ ≥ probability`.
///
/// `word(key, i)` is output `i` of SplitMix64 seeded with `key`. Every backend uses this rule, so a
/// mask is the same bits wherever and on however many threads it is made.
///
/// # Panics
/// If `probability` is not in `[0, 1]`.
#[must_use]
pub fn keep(key: u64, index: u64, probability: f64) -> bool {
    Keep::new(key, probability).at(index)
}

/// The dropout rule of one row of attention weights.
///
/// Weight (head, query row, key offset) uses element `offset` of the stream
/// `mix_key(key, [head, row])`, where `row` counts over the whole packed batch and `offset` is the
/// position of the key inside its sequence, the rows of a prefix counted first. Neither the head count nor any length enters, so a mask
/// does not depend on what else is in the batch after this row.
///
/// # Panics
/// If `probability` is not in `[0, 1]`.
#[must_use]
pub fn attention_keep(key: u64, head: usize, row: usize, probability: f64) -> Keep {
    Keep::new(mix_key(key, &[head as u64, row as u64]), probability)
}

/// `n` uniform numbers in `[0, 1)`: `uᵢ = ⌊word(key, i) / 2⁴⁰⌋ · 2⁻²⁴`. A shorter draw is a prefix
/// of a longer one.
#[must_use]
pub fn uniform(key: u64, n: usize) -> Vec<f32> {
    const ULP24: f32 = 1.0 / (1_u32 << 24) as f32;
    (0..n as u64)
        .map(|i| (word(key, i) >> 40) as f32 * ULP24)
        .collect()
}

/// `n` uniform numbers in `[−bound, bound)`: `(2 uᵢ − 1) · bound`, with those of [`uniform`].
#[must_use]
pub fn uniform_within(key: u64, n: usize, bound: f32) -> Vec<f32> {
    let draws = uniform(key, n).into_iter();
    draws.map(|u| (2.0 * u - 1.0) * bound).collect()
}

/// `n` standard normal numbers by the method of Box and Muller, computed in `f64`.
///
/// Numbers `2j` and `2j + 1` are `√(−2 ln u) · cos 2πv` and `√(−2 ln u) · sin 2πv` with
/// `u = (⌊word(key, 2j) / 2¹¹⌋ + 1) · 2⁻⁵³` and `v = ⌊word(key, 2j + 1) / 2¹¹⌋ · 2⁻⁵³`. A shorter
/// draw is a prefix of a longer one. The elementary functions are those of the `libm` crate, not
/// the platform's, so the bits are the same everywhere.
#[must_use]
pub fn normal(key: u64, n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(n + 1);
    for j in 0..n.div_ceil(2) as u64 {
        let u = ((word(key, 2 * j) >> 11) + 1) as f64 * ULP53;
        let v = (word(key, 2 * j + 1) >> 11) as f64 * ULP53;
        let radius = libm::sqrt(-2.0 * libm::log(u));
        let (sin, cos) = libm::sincos(core::f64::consts::TAU * v);
        out.push((radius * cos) as f32);
        out.push((radius * sin) as f32);
    }
    out.truncate(n);
    out
}
