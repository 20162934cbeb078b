//! What was trained on the same rows, compared row by row.

use std::path::Path;

use anyhow::Result;
use peft_run::core::format::atomic::write_atomic_bytes;
use serde_json::json;

/// Shares of right answers, and their difference.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub rows: usize,
    pub head: f64,
    /// Of a logistic regression on features of the frozen model.
    pub features: Option<f64>,
    pub lora: f64,
    /// `lora − head`, the mean over the rows of +1, 0 and −1.
    pub difference: f64,
    /// √(variance of that over the rows / rows): what both get right or wrong does not count.
    pub standard_error: f64,
}

impl Outcome {
    pub fn new(head: &[bool], features: Option<&[bool]>, lora: &[bool]) -> Self {
        let rows = head.len().min(lora.len());
        let count = rows.max(1) as f64;
        let share = |marks: &[bool]| marks.iter().filter(|right| **right).count() as f64 / count;
        let differences = || {
            let value = |right: bool| f64::from(u8::from(right));
            head.iter()
                .zip(lora)
                .map(move |(head, lora)| value(*lora) - value(*head))
        };
        let difference = differences().sum::<f64>() / count;
        let squares: f64 = differences().map(|d| (d - difference).powi(2)).sum();
        let variance = squares / (count - 1.0).max(1.0);
        Self {
            rows,
            head: share(head),
            features: features.map(share),
            lora: share(lora),
            difference,
            standard_error: (variance / count).sqrt(),
        }
    }

    /// The ways to answer, by name, and their shares of right answers.
    pub fn arms(&self) -> Vec<(&'static str, f64)> {
        let features = self.features;
        let features =
            features.map(|share| ("frozen model, logistic regression on its features", share));
        [("frozen model, new classifier head", self.head)]
            .into_iter()
            .chain(features)
            .chain([("LoRA and head", self.lora)])
            .collect()
    }

    /// Whether LoRA is better than the head by more than two standard errors.
    pub fn ahead(&self) -> bool {
        self.difference > 2.0 * self.standard_error
    }

    /// Writes `quickstart.json`.
    pub fn write(&self, output: &Path) -> Result<()> {
        let object = json!({
            "rows": self.rows,
            "accuracy": { "head": self.head, "features": self.features, "lora": self.lora },
            "difference": self.difference,
            "standard_error": self.standard_error,
            "ahead": self.ahead(),
        });
        let text = serde_json::to_string_pretty(&object)? + "\n";
        Ok(write_atomic_bytes(
            &output.join("quickstart.json"),
            text.as_bytes(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `right` of 100 rows, counted from row `first`.
    fn marks(first: usize, right: usize) -> Vec<bool> {
        (0..100)
            .map(|row| (first..first + right).contains(&row))
            .collect()
    }

    #[test]
    fn the_error_counts_only_rows_on_which_the_arms_differ() {
        let outcome = Outcome::new(&marks(0, 60), Some(&marks(0, 70)), &marks(0, 80));
        assert_eq!((outcome.head, outcome.lora, outcome.rows), (0.6, 0.8, 100));
        let shares: Vec<f64> = outcome.arms().iter().map(|(_, share)| *share).collect();
        assert_eq!(shares, [0.6, 0.7, 0.8]);
        // 20 rows of +1 and 80 of 0: a variance of 0.2 · 0.8 · 100 / 99.
        let expected = (0.16f64 / 99.0).sqrt();
        assert!((outcome.standard_error - expected).abs() < 1e-12);
        assert!((outcome.difference - 0.2).abs() < 1e-12);
        assert!(outcome.ahead());
    }

    #[test]
    fn a_small_or_a_negative_difference_is_not_ahead() {
        // 30 rows one way, 40 the other.
        let close = Outcome::new(&marks(0, 50), None, &marks(30, 60));
        assert!(close.difference > 0.0 && !close.ahead(), "{close:?}");
        assert!(!Outcome::new(&marks(0, 60), None, &marks(0, 40)).ahead());
        assert!(!Outcome::new(&marks(0, 50), None, &marks(0, 50)).ahead());
    }
}
