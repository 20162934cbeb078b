//! How good predictions are.

use std::collections::BTreeMap;

use crate::Confusion;

/// Metrics by the names that HF's `evaluate` and GLUE use.
pub type Metrics = BTreeMap<String, f64>;

fn named<const N: usize>(metrics: [(&str, f64); N]) -> Metrics {
    metrics.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Accuracy, F1 (of class 1 for two classes, else the mean over classes) and Matthews correlation.
///
/// As in scikit-learn, a metric whose denominator is zero is 0, and the mean of F1 is over the classes that are
/// predicted or true of any row.
///
/// # Panics
/// If the two have different lengths or a class is `classes` or more.
pub fn classification(predicted: &[u32], actual: &[u32], classes: usize) -> Metrics {
    assert_eq!(predicted.len(), actual.len(), "one prediction a row");
    let mut confusion = Counts::new(classes);
    for (p, a) in predicted.iter().zip(actual) {
        confusion.add(*p, *a);
    }
    confusion.metrics()
}

/// Rows by actual and predicted class.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    counts: Vec<Vec<f64>>,
}

impl Counts {
    pub fn new(classes: usize) -> Self {
        Self {
            counts: vec![vec![0.0; classes]; classes],
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// # Panics
    /// If a class is none of those.
    pub fn add(&mut self, predicted: u32, actual: u32) {
        self.counts[actual as usize][predicted as usize] += 1.0;
    }

    /// The counts that are not zero.
    pub fn confusion(&self) -> Confusion {
        let cells = self.counts.iter().enumerate().flat_map(|(actual, row)| {
            let cells = row.iter().enumerate().filter(|(_, rows)| **rows > 0.0);
            cells.map(move |(predicted, rows)| [actual as u64, predicted as u64, *rows as u64])
        });
        Confusion {
            classes: self.classes(),
            counts: cells.collect(),
        }
    }

    /// See [`classification`].
    pub fn metrics(&self) -> Metrics {
        let (counts, classes) = (&self.counts, self.counts.len());
        let n: f64 = counts.iter().flatten().sum();
        let hits: f64 = (0..classes).map(|c| counts[c][c]).sum();
        let actual_of = |c: usize| counts[c].iter().sum::<f64>();
        let predicted_of = |c: usize| counts.iter().map(|row| row[c]).sum::<f64>();
        let seen = |c: usize| actual_of(c) + predicted_of(c);
        let f1 = |c: usize| ratio(2.0 * counts[c][c], seen(c));
        let f1 = match classes {
            2 => f1(1),
            _ => {
                let present: Vec<usize> = (0..classes).filter(|c| seen(*c) > 0.0).collect();
                ratio(present.iter().copied().map(f1).sum(), present.len() as f64)
            }
        };
        let sum = |of: &dyn Fn(usize) -> f64| (0..classes).map(of).sum::<f64>();
        let covariance = hits * n - sum(&|c| actual_of(c) * predicted_of(c));
        let actual_spread = n * n - sum(&|c| actual_of(c).powi(2));
        let predicted_spread = n * n - sum(&|c| predicted_of(c).powi(2));
        named([
            ("accuracy", ratio(hits, n)),
            ("f1", f1),
            (
                "matthews",
                ratio(covariance, (actual_spread * predicted_spread).sqrt()),
            ),
        ])
    }
}

/// F1 over all labels of all rows (micro) and as the mean over labels (macro), and the share of rows
/// whose labels are all right; a label is predicted from a probability of one half.
///
/// A metric whose denominator is zero is 0, as in scikit-learn.
///
/// # Panics
/// If the two have different lengths, or are no rows of `width` labels.
pub fn multi_label(predicted: &[f32], actual: &[f32], width: usize) -> Metrics {
    assert_eq!(predicted.len(), actual.len(), "one probability a label");
    let mut hits = LabelHits::new(width);
    hits.add(predicted, actual);
    hits.metrics()
}

/// What of several labels a row was right.
#[derive(Debug, Clone)]
pub(crate) struct LabelHits {
    /// Of each label: hits, predictions, and rows that have it.
    counts: Vec<[f64; 3]>,
    /// Rows whose labels are all right.
    right: usize,
    rows: usize,
}

impl LabelHits {
    pub fn new(width: usize) -> Self {
        Self {
            counts: vec![[0.0; 3]; width],
            right: 0,
            rows: 0,
        }
    }

    /// # Panics
    /// If these are no whole rows.
    pub fn add(&mut self, predicted: &[f32], actual: &[f32]) {
        let width = self.counts.len();
        assert_eq!(predicted.len() % width, 0, "whole rows");
        for (row, truth) in predicted.chunks(width).zip(actual.chunks(width)) {
            let mut all = true;
            for (count, (p, a)) in self.counts.iter_mut().zip(row.iter().zip(truth)) {
                let (p, a) = (*p >= 0.5, *a >= 0.5);
                all &= p == a;
                for (sum, hit) in count.iter_mut().zip([p && a, p, a]) {
                    *sum += f64::from(u8::from(hit));
                }
            }
            self.right += usize::from(all);
            self.rows += 1;
        }
    }

    /// See [`multi_label`].
    pub fn metrics(&self) -> Metrics {
        let f1 = |[hits, predicted, actual]: [f64; 3]| ratio(2.0 * hits, predicted + actual);
        let whole = self.counts.iter().fold([0.0; 3], |sum, count| {
            [sum[0] + count[0], sum[1] + count[1], sum[2] + count[2]]
        });
        named([
            ("accuracy", ratio(self.right as f64, self.rows as f64)),
            ("f1", f1(whole)),
            (
                "f1_macro",
                self.counts.iter().copied().map(f1).sum::<f64>() / self.counts.len() as f64,
            ),
        ])
    }
}

/// Pearson's and Spearman's correlation and the mean squared error.
///
/// # Panics
/// If the two have different lengths.
pub fn regression(predicted: &[f32], actual: &[f32]) -> Metrics {
    assert_eq!(predicted.len(), actual.len(), "one prediction a row");
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let (p, a) = (wide(predicted), wide(actual));
    let error: f64 = p.iter().zip(&a).map(|(p, a)| (p - a).powi(2)).sum();
    named([
        ("mse", ratio(error, a.len() as f64)),
        ("pearson", pearson(&p, &a)),
        ("spearman", pearson(&ranks(&p), &ranks(&a))),
    ])
}

fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let dot = |f: &dyn Fn((&f64, &f64)) -> f64| x.iter().zip(y).map(f).sum::<f64>();
    let xy = dot(&|(a, b)| (a - mx) * (b - my));
    let xx = dot(&|(a, _)| (a - mx).powi(2));
    let yy = dot(&|(_, b)| (b - my).powi(2));
    ratio(xy, (xx * yy).sqrt())
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..]
            .iter()
            .take_while(|i| values[**i] == values[order[start]])
            .count();
        // A NaN equals nothing, itself included, but takes up a rank.
        let same = same.max(1);
        for place in &order[start..start + same] {
            ranks[*place] = start as f64 + (same as f64 + 1.0) / 2.0;
        }
        start += same;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classification_matches_scikit_learn() {
        // accuracy_score, f1_score, matthews_corrcoef of scikit-learn.
        let metrics = classification(&[0, 1, 1, 0, 1, 1], &[0, 1, 0, 0, 1, 0], 2);
        assert!((metrics["accuracy"] - 4.0 / 6.0).abs() < 1e-12);
        assert!((metrics["f1"] - 2.0 / 3.0).abs() < 1e-12);
        assert!((metrics["matthews"] - 0.5).abs() < 1e-12);
        let three = classification(&[0, 1, 2, 2], &[0, 1, 1, 2], 3);
        assert!((three["f1"] - (1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        // The same rows where the head has two classes more, as f1_score(…, average="macro") has it.
        let five = classification(&[0, 1, 2, 2], &[0, 1, 1, 2], 5);
        assert!((five["f1"] - three["f1"]).abs() < 1e-12, "{five:?}");
        // Classes that are only predicted or only true count: (0 + 1 + 0 + 0) / 4.
        let wrong = classification(&[0, 1, 3], &[2, 1, 2], 5);
        assert!((wrong["f1"] - 1.0 / 4.0).abs() < 1e-12, "{wrong:?}");
    }

    #[test]
    fn constant_predictions_have_no_correlation() {
        assert_eq!(classification(&[1, 1], &[0, 1], 2)["matthews"], 0.0);
        assert_eq!(regression(&[1.0, 1.0], &[0.0, 1.0])["pearson"], 0.0);
    }

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        let metrics = regression(&[1.0, 2.0, 3.0], &[1.0, 4.0, 9.0]);
        assert!((metrics["spearman"] - 1.0).abs() < 1e-12);
    }
}
