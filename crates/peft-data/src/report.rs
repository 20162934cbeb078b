//! What loading a data set found.

use crate::causal::CausalReport;
use serde::Serialize;
use std::collections::BTreeMap;

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
        let mut counts = LengthCounts::default();
        lengths.iter().for_each(|&length| counts.add(length));
        counts.lengths()
    }
}

/// Number of rows of each length: statistics of any number of rows in little memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct LengthCounts {
    /// Lengths below [`EXACT`], one by one, as far as they occur.
    short: Vec<u64>,
    /// The others.
    long: BTreeMap<usize, u64>,
    rows: u64,
    total: u128,
}

/// Longer rows are counted by length rounded down to twelve binary digits.
const EXACT: usize = 1 << 16;

impl LengthCounts {
    pub(crate) fn add(&mut self, length: usize) {
        self.rows += 1;
        self.total += length as u128;
        if length < EXACT {
            if self.short.len() <= length {
                self.short.resize(length + 1, 0);
            }
            self.short[length] += 1;
        } else {
            // At most 4096 values an octave, so that hostile lengths do not fill memory either.
            let grain = 1usize << (length.ilog2() - 12);
            *self.long.entry(length / grain * grain).or_default() += 1;
        }
    }

    fn each(&self) -> impl Iterator<Item = (usize, u64)> {
        let short = self.short.iter().copied().enumerate();
        let long = self.long.iter().map(|(length, rows)| (*length, *rows));
        short.chain(long).filter(|(_, rows)| *rows > 0)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The nearest-rank percentile; 0 for no rows.
    pub(crate) fn percentile(&self, percent: u64) -> usize {
        let rank = (u128::from(self.rows) * u128::from(percent))
            .div_ceil(100)
            .max(1);
        let mut below = 0u128;
        for (length, rows) in self.each() {
            below += u128::from(rows);
            if below >= rank {
                return length;
            }
        }
        0
    }

    pub(crate) fn mean(&self) -> f64 {
        match self.rows {
            0 => 0.0,
            rows => self.total as f64 / rows as f64,
        }
    }

    pub(crate) fn lengths(&self) -> Lengths {
        let mut each = self.each();
        let min = each.next().map_or(0, |(length, _)| length);
        Lengths {
            min,
            mean: self.mean(),
            p50: self.percentile(50),
            p95: self.percentile(95),
            max: each.last().map_or(min, |(length, _)| length),
        }
    }

    /// Rows by length in bins of doubling width: 1, 2, 3 to 4, 5 to 8 and so on. Bins before the
    /// first row and behind the last are left out.
    pub(crate) fn histogram(&self) -> Vec<Bin> {
        let mut bins: Vec<Bin> = Vec::new();
        for (length, rows) in self.each() {
            let to = length.max(1).next_power_of_two();
            while bins.last().is_some_and(|bin| bin.to < to) {
                let from = bins.last().map_or(1, |bin| bin.to + 1);
                bins.push(Bin {
                    from,
                    to: (from - 1) * 2,
                    rows: 0,
                });
            }
            match bins.last_mut() {
                Some(bin) => bin.rows += rows,
                None => bins.push(Bin {
                    from: to / 2 + 1,
                    to,
                    rows,
                }),
            }
        }
        bins
    }
}

/// Rows whose length lies in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// Shortest length.
    pub from: usize,
    /// Longest length.
    pub to: usize,
    /// Rows.
    pub rows: u64,
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
    /// Rows whose label is a number and was taken for that of a class, counted from 0 in the order of
    /// the names that were given, since no class is called so.
    pub by_number: usize,
    /// What was found in rows of a language model; `None` for other tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causal: Option<CausalReport>,
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

    #[test]
    fn bins_double_and_long_rows_take_little() {
        let mut counts = LengthCounts::default();
        [1, 2, 3, 4, 5, 40].into_iter().for_each(|l| counts.add(l));
        let bins: Vec<_> = counts
            .histogram()
            .iter()
            .map(|b| (b.from, b.to, b.rows))
            .collect();
        let want = [
            (1, 1, 1),
            (2, 2, 1),
            (3, 4, 2),
            (5, 8, 1),
            (9, 16, 0),
            (17, 32, 0),
            (33, 64, 1),
        ];
        assert_eq!(bins, want);
        for length in (1..400_000).map(|i| i * 16) {
            counts.add(length);
        }
        assert!(counts.long.len() < 40_000 && counts.short.len() <= EXACT);
        let (max, p50) = (counts.lengths().max, counts.percentile(50));
        assert!((max as f64 / 6_399_984.0 - 1.0).abs() < 1e-3, "{max}");
        assert!((p50 as f64 / 3_200_000.0 - 1.0).abs() < 1e-3, "{p50}");
    }
}
