//! One model before and after, compared row by row.

use std::path::Path;

use anyhow::Result;
use peft_run::core::format::atomic::write_atomic_bytes;
use serde_json::{Value, json};

/// Standard errors on either side of an estimate that hold 95 % of a normal distribution.
const WIDTH: f64 = 1.96;

/// An answer held out, as a model sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Sum of `−ln p` of its tokens.
    pub nats: f64,
    pub tokens: usize,
}

/// A problem with what is expected and what was generated.
pub struct Example {
    pub question: String,
    pub expected: String,
    pub before: String,
    pub after: String,
}

/// The perplexity of a model on all rows together, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// exp(Σ nats / Σ tokens).
    pub perplexity: f64,
    pub interval: [f64; 2],
}

/// Perplexities, and their ratio.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub rows: usize,
    pub tokens: usize,
    pub before: Perplexity,
    pub after: Perplexity,
    /// `after / before`.
    pub ratio: f64,
    /// 95 % interval of the ratio: rows are the units that are drawn, and the two models answer the same ones.
    pub interval: [f64; 2],
}

impl Outcome {
    /// Of the same rows in the same order.
    pub fn new(before: &[Row], after: &[Row]) -> Self {
        let pairs = || before.iter().zip(after);
        let tokens: Vec<f64> = pairs().map(|(row, _)| row.tokens as f64).collect();
        let estimate = |nats: Vec<f64>| {
            let [middle, low, high] = ratio_of_sums(&nats, &tokens).map(f64::exp);
            (middle, [low, high])
        };
        let of = |rows: &[Row]| {
            let (perplexity, interval) = estimate(rows.iter().map(|row| row.nats).collect());
            Perplexity {
                perplexity,
                interval,
            }
        };
        let (ratio, interval) = estimate(
            pairs()
                .map(|(before, after)| after.nats - before.nats)
                .collect(),
        );
        Self {
            rows: tokens.len(),
            tokens: before.iter().map(|row| row.tokens).sum(),
            before: of(before),
            after: of(after),
            ratio,
            interval,
        }
    }

    /// Whether the whole interval of the ratio lies below 1.
    pub fn better(&self) -> bool {
        self.interval[1] < 1.0
    }

    /// Writes `quickstart.json`.
    pub fn write(&self, examples: &[Example], output: &Path) -> Result<()> {
        let side =
            |side: &Perplexity| json!({ "perplexity": side.perplexity, "interval": side.interval });
        let examples: Vec<Value> = examples
            .iter()
            .map(|example| {
                json!({
                    "question": example.question,
                    "expected": example.expected,
                    "before": example.before,
                    "after": example.after,
                })
            })
            .collect();
        let object = json!({
            "rows": self.rows,
            "tokens": self.tokens,
            "before": side(&self.before),
            "after": side(&self.after),
            "ratio": { "after_over_before": self.ratio, "interval": self.interval },
            "better": self.better(),
            "examples": examples,
        });
        let text = serde_json::to_string_pretty(&object)? + "\n";
        Ok(write_atomic_bytes(
            &output.join("quickstart.json"),
            text.as_bytes(),
        )?)
    }
}

/// `R = Σ y / Σ x` and its 95 % interval, by the standard error of a ratio of sums over drawn rows:
/// `√(n / (n − 1) · Σ (yᵢ − R xᵢ)²) / Σ x` (Cochran, Sampling Techniques, 1977, §6.4).
fn ratio_of_sums(y: &[f64], x: &[f64]) -> [f64; 3] {
    let total: f64 = x.iter().sum();
    let ratio = y.iter().sum::<f64>() / total;
    let squares: f64 = y.iter().zip(x).map(|(y, x)| (y - ratio * x).powi(2)).sum();
    let count = y.len() as f64;
    let error = (count / (count - 1.0).max(1.0) * squares).sqrt() / total;
    [ratio, ratio - WIDTH * error, ratio + WIDTH * error]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(nats: &[f64]) -> Vec<Row> {
        let row = |&nats| Row { nats, tokens: 10 };
        nats.iter().map(row).collect()
    }

    #[test]
    fn of_equal_lengths_the_interval_is_that_of_a_mean() {
        let before = rows(&[10.0, 12.0, 14.0, 16.0]);
        let after = rows(&[9.0, 10.0, 13.0, 12.0]);
        let outcome = Outcome::new(&before, &after);
        assert_eq!((outcome.rows, outcome.tokens), (4, 40));
        assert!((outcome.before.perplexity - 1.3f64.exp()).abs() < 1e-12);
        // Differences −1 −2 −1 −4 of 10 tokens each: mean −0.2, standard error 1.41421 / 2 / 10.
        assert!((outcome.ratio - (-0.2f64).exp()).abs() < 1e-12);
        let error = 2f64.sqrt() / 20.0;
        let high = (-0.2 + WIDTH * error).exp();
        assert!((outcome.interval[1] - high).abs() < 1e-12, "{outcome:?}");
        assert!(outcome.better());
    }

    #[test]
    fn what_all_rows_share_is_certain_and_what_they_do_not_is_not() {
        let before = rows(&[10.0, 20.0, 30.0]);
        let shifted: Vec<Row> = rows(&[9.0, 19.0, 29.0]);
        let outcome = Outcome::new(&before, &shifted);
        assert!((outcome.interval[1] - outcome.ratio).abs() < 1e-9 && outcome.better());
        // Better by as much in the mean, but not on every row.
        let mixed = rows(&[3.0, 30.0, 24.0]);
        assert!(!Outcome::new(&before, &mixed).better());
        assert!(!Outcome::new(&before, &before).better(), "nothing changed");
    }

    #[test]
    fn long_rows_count_by_their_tokens() {
        let row = |nats, tokens| Row { nats, tokens };
        let before = [row(10.0, 10), row(270.0, 90)];
        let outcome = Outcome::new(&before, &before);
        assert!((outcome.before.perplexity - 2.8f64.exp()).abs() < 1e-12);
    }
}
