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
                "rows are missing or out of order"
            );
            rows.loss.push(number("loss")?);
            rows.tokens.push(number("tokens")? as u32);
        }
        ensure!(!rows.loss.is_empty(), "there are no rows");
        Ok(rows)
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
        let second = text.lines().nth(1).unwrap();
        assert!(RowLosses::parse(second).is_err());
        assert!(RowLosses::parse("{\"rows\":2}").is_err());
    }
}
