//! What loading a data set found.

use serde::Serialize;

/// Lengths of rows in tokens, special tokens included, after truncation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// Shortest.
    pub min: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median (nearest rank).
    pub p50: usize,
    /// 95th percentile (nearest rank).
    pub p95: usize,
    /// Longest.
    pub max: usize,
}

impl Lengths {
    /// Statistics of row lengths; all zero for no rows.
    pub fn of(lengths: &[usize]) -> Self {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let n = sorted.len();
        let rank = |percent: usize| sorted[(n * percent).div_ceil(100).saturating_sub(1)];
        let mean = sorted.iter().sum::<usize>() as f64 / n as f64;
        Self {
            min,
            mean,
            p50: rank(50),
            p95: rank(95),
            max,
        }
    }
}

/// What was loaded, and what was cut.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Rows loaded.
    pub rows: usize,
    /// Rows of each class, in the order of class ids; empty without classes.
    pub label_counts: Vec<(String, usize)>,
    /// Rows that were longer than the maximum length.
    pub truncated_rows: usize,
    /// Tokens cut from them.
    pub truncated_tokens: usize,
    /// Lengths of rows.
    pub lengths: Lengths,
    /// Rows whose text, or one of the pair, is empty or blank.
    pub empty_texts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let hundred: Vec<usize> = (1..=100).rev().collect();
        let got = Lengths::of(&hundred);
        assert_eq!((got.min, got.p50, got.p95, got.max), (1, 50, 95, 100));
        assert_eq!(got.mean, 50.5);
        assert_eq!(Lengths::of(&[7]).p95, 7);
        assert_eq!(Lengths::of(&[]), Lengths::default());
    }
}
