//! `result.json` of a run on a language model, the same for both engines.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::Machine;
use crate::files;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    pub arm: String,
    pub engine: String,
    pub seed: u64,
    pub learning_rate: f64,
    /// What identifies the run beside arm, seed and rate.
    pub settings: Settings,
    pub trainable_parameters: u64,
    pub adapter_bytes: u64,
    /// Mean loss over the tokens of every step, before its update.
    pub losses: Vec<f64>,
    /// Mean loss over the rows that select, after the last step.
    pub selection_loss: Option<f64>,
    /// On the report rows, which are read once a rate is chosen.
    pub report: Option<RowLosses>,
    /// Median over the run.
    pub step_time_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// Other work shared the machine: the times are not to be used.
    pub contended: bool,
    pub machine: Option<Machine>,
    pub versions: BTreeMap<String, String>,
}

/// Flags, and digests of what they do not say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Settings {
    pub model: String,
    /// sha256 of the rows.
    pub rows: String,
    pub flags: BTreeMap<String, String>,
}

/// Losses of rows in file order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RowLosses {
    /// Mean over the row's tokens.
    pub loss: Vec<f64>,
    pub tokens: Vec<u32>,
    /// Whether the right answer had the lowest loss, where there are several to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub right: Vec<bool>,
}

impl RowLosses {
    /// Of the objects that `peft eval --each-row` prints before the last one.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rows = Self::default();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).context("a line is not JSON")?;
            if row["index"].is_null() {
                continue;
            }
            let number = |name: &str| {
                row[name]
                    .as_f64()
                    .with_context(|| format!("a row has no number {name}"))
            };
            ensure!(
                number("index")? == rows.loss.len() as f64,
                "row {} is missing: longer than the study's max_length, or with nothing to predict",
                rows.loss.len()
            );
            rows.loss.push(number("loss")?);
            rows.tokens.push(number("tokens")? as u32);
        }
        ensure!(!rows.loss.is_empty(), "there are no rows");
        Ok(rows)
    }

    /// Of rows with all their answers one behind the other, the losses of the right ones and whether they are the lowest; a loss
    /// that ties with the right one's counts against it.
    pub fn answered(&self, count: usize, right: &[usize]) -> Result<Self> {
        ensure!(
            self.loss.len() == count * right.len(),
            "{} rows, and {} with {count} answers each are wanted",
            self.loss.len(),
            right.len()
        );
        let nats = self.nats();
        let mut rows = Self::default();
        for (row, &right) in right.iter().enumerate() {
            let from = row * count;
            let lowest = |place: usize| place == right || nats[from + place] > nats[from + right];
            rows.right.push((0..count).all(lowest));
            rows.loss.push(self.loss[from + right]);
            rows.tokens.push(self.tokens[from + right]);
        }
        Ok(rows)
    }

    /// Share of the rows that are answered rightly; `None` where there is nothing to choose from.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.right.iter().filter(|right| **right).count();
        (!self.right.is_empty()).then(|| right as f64 / self.right.len() as f64)
    }

    /// Sum of `−ln p` of each row's tokens.
    pub fn nats(&self) -> Vec<f64> {
        let rows = self.loss.iter().zip(&self.tokens);
        rows.map(|(loss, tokens)| loss * f64::from(*tokens))
            .collect()
    }

    pub fn perplexity(&self) -> f64 {
        let tokens: u32 = self.tokens.iter().sum();
        (self.nats().iter().sum::<f64>() / f64::from(tokens)).exp()
    }
}

impl Outcome {
    pub fn read(path: &Path) -> Result<Self> {
        let outcome: Self = serde_json::from_str(&files::read(path)?)
            .with_context(|| format!("{} is not a result", path.display()))?;
        if let Some(report) = &outcome.report {
            ensure!(
                report.loss.len() == report.tokens.len()
                    && report.loss.iter().all(|loss| loss.is_finite()),
                "{}: rows without a loss",
                path.display()
            );
        }
        Ok(outcome)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).context("cannot write a result")?;
        files::write_atomic(path, (text + "\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_before_the_total_and_in_order() {
        let text = "{\"index\":0,\"tokens\":2,\"loss\":1.0}\n{\"index\":1,\"tokens\":6,\"loss\":3.0}\n\
                    {\"rows\":2,\"loss\":2.5}\n";
        let rows = RowLosses::parse(text).unwrap();
        assert_eq!(rows.nats(), [2.0, 18.0]);
        assert!((rows.perplexity() - 2.5f64.exp()).abs() < 1e-12);
        assert_eq!(rows.accuracy(), None);
        let second = text.lines().nth(1).unwrap();
        assert!(RowLosses::parse(second).is_err());
        assert!(RowLosses::parse("{\"rows\":2}").is_err());
    }

    #[test]
    fn the_lowest_loss_is_the_answer() {
        let rows = RowLosses {
            loss: vec![1.0, 2.0, 3.0, 4.0, 5.0, 5.0],
            tokens: vec![1, 1, 2, 1, 1, 1],
            right: Vec::new(),
        };
        let answered = rows.answered(2, &[0, 0, 1]).unwrap();
        // Six nats against four, and a tie.
        assert_eq!(answered.right, [true, false, false]);
        assert_eq!(
            (answered.loss, answered.tokens),
            (vec![1.0, 3.0, 5.0], vec![1, 2, 1])
        );
        assert!(rows.answered(4, &[0]).is_err());
    }
}
