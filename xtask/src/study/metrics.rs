//! What the study takes from `metrics.jsonl`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::outcome::Epoch;
use super::statistics;
use crate::files;

#[derive(Debug)]
pub struct Metrics {
    pub trainable_parameters: u64,
    pub head_parameters: u64,
    pub steps: u64,
    pub step_time_s: f64,
    pub tokens_per_s: f64,
    pub optimizer_bytes: Option<u64>,
    pub epochs: Vec<Epoch>,
}

impl Metrics {
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let (mut plan, mut epochs, mut optimizer_bytes) = (None, Vec::new(), None);
        let (mut times, mut tokens, mut losses, mut steps) = (Vec::new(), 0.0, Vec::new(), 0);
        for (line, text) in text.lines().enumerate() {
            let event: Value = serde_json::from_str(text)
                .with_context(|| format!("line {} is not JSON", line + 1))?;
            let number = |name: &str| {
                event[name]
                    .as_f64()
                    .with_context(|| format!("line {}: no number {name}", line + 1))
            };
            match event["event"].as_str() {
                Some("plan") => {
                    plan = Some((number("trainable_parameters")?, number("head_parameters")?));
                }
                Some("step") => {
                    let time = number("step_time_s")?;
                    times.push(time);
                    tokens += number("tokens_per_s")? * time;
                    losses.push(number("loss")?);
                    steps = number("step")? as u64;
                }
                // The report split, where there is one, has another name.
                Some("eval")
                    if event["split"]
                        .as_str()
                        .is_some_and(|split| split.starts_with("select")) =>
                {
                    epochs.push(Epoch {
                        epoch: number("epoch")?.ceil() as u32,
                        train_loss: statistics::mean(&std::mem::take(&mut losses)),
                        selection_accuracy: number("accuracy")?,
                    });
                }
                Some("final") => optimizer_bytes = event["optimizer_bytes"].as_u64(),
                _ => {}
            }
        }
        ensure!(!times.is_empty(), "there is no `step` event");
        let (trainable, head) = plan.context("there is no `plan` event")?;
        Ok(Self {
            trainable_parameters: trainable as u64,
            head_parameters: head as u64,
            steps,
            step_time_s: statistics::median(&times),
            tokens_per_s: tokens / times.iter().sum::<f64>(),
            optimizer_bytes,
            epochs,
        })
    }

    /// The epoch of the best selection accuracy, the earliest of equals.
    pub fn kept_epoch(&self) -> Result<u32> {
        let better = |best: &Epoch, next: &Epoch| next.selection_accuracy > best.selection_accuracy;
        let mut epochs = self.epochs.iter();
        let first = epochs
            .next()
            .context("metrics.jsonl has no `eval` event of the selection split")?;
        Ok(epochs
            .fold(
                first,
                |best, next| if better(best, next) { next } else { best },
            )
            .epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_a_log() {
        let text = r#"{"event":"plan","trainable_parameters":10,"head_parameters":3}
{"event":"step","step":1,"loss":1.0,"tokens_per_s":100.0,"step_time_s":0.1}
{"event":"eval","step":1,"epoch":2,"split":"selection","accuracy":0.5}
{"event":"step","step":2,"loss":0.5,"tokens_per_s":50.0,"step_time_s":0.3}
{"event":"eval","step":2,"epoch":3.5,"split":"selection","accuracy":0.5}
{"event":"final","split":"report","accuracy":0.9,"optimizer_bytes":80}"#;
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!((metrics.trainable_parameters, metrics.steps), (10, 2));
        assert!((metrics.tokens_per_s - 25.0 / 0.4).abs() < 1e-9);
        assert!((metrics.step_time_s - 0.2).abs() < 1e-12);
        assert_eq!(metrics.optimizer_bytes, Some(80));
        assert_eq!(metrics.kept_epoch().unwrap(), 2);
        assert_eq!(metrics.epochs[1].epoch, 4);
        assert_eq!(metrics.epochs[1].train_loss, 0.5);
        assert!(Metrics::parse("{\"event\":\"plan\"}").is_err());
    }
}
