//! `result.json`: what a run leaves behind, the same for both engines.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::Checkpoint;
use super::settings::Run;
use crate::bench::Machine;
use crate::files;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    pub arm: String,
    pub engine: String,
    pub seed: u64,
    pub learning_rate: f64,
    pub head_learning_rate: f64,
    /// Without the head.
    pub trainable_parameters: u64,
    pub head_parameters: u64,
    /// Size of adapter_model.safetensors, head included.
    pub adapter_bytes: u64,
    pub adapter_tensor_bytes_without_head: u64,
    pub steps: u64,
    /// Median over the run.
    pub step_time_s: f64,
    pub train_time_s: f64,
    pub real_tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    pub peak_rss_anon_bytes: Option<u64>,
    /// What is remembered from step to step, of the head, too; unknown of runs before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer_bytes: Option<u64>,
    pub epochs: Vec<Epoch>,
    pub kept_epoch: u32,
    /// On the report split, which is read once a rate is chosen.
    #[serde(flatten)]
    pub report: Option<ReportMarks>,
    /// Other work shared the machine: the times are not to be used.
    #[serde(default)]
    pub contended: bool,
    /// Where it was trained, its load before and the commit; unknown of runs before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    #[serde(default)]
    pub versions: Map<String, Value>,
    pub arguments: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReportMarks {
    pub report_accuracy_last: f64,
    pub report_accuracy_kept: f64,
    /// A `1` or `0` for each report row in file order: right or wrong.
    pub report_correct_last: String,
    pub report_correct_kept: String,
}

impl ReportMarks {
    /// Of the marks of both checkpoints.
    pub fn new(last: String, kept: String) -> Self {
        let accuracy = |marks: &str| marks.matches('1').count() as f64 / marks.len() as f64;
        Self {
            report_accuracy_last: accuracy(&last),
            report_accuracy_kept: accuracy(&kept),
            report_correct_last: last,
            report_correct_kept: kept,
        }
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.report_correct_last.len() == self.report_correct_kept.len(),
            "the two checkpoints were scored on different numbers of rows"
        );
        for (marks, accuracy) in [
            (&self.report_correct_last, self.report_accuracy_last),
            (&self.report_correct_kept, self.report_accuracy_kept),
        ] {
            let right = marks.bytes().filter(|&mark| mark == b'1').count();
            ensure!(
                !marks.is_empty() && marks.bytes().all(|mark| mark == b'0' || mark == b'1'),
                "report_correct must hold a 1 or 0 for each row"
            );
            ensure!(
                (right as f64 / marks.len() as f64 - accuracy).abs() < 1e-9,
                "the accuracy {accuracy} is not that of the rows"
            );
        }
        Ok(())
    }

    pub fn correct(&self, checkpoint: Checkpoint) -> &str {
        match checkpoint {
            Checkpoint::Last => &self.report_correct_last,
            Checkpoint::Kept => &self.report_correct_kept,
        }
    }

    pub fn accuracy(&self, checkpoint: Checkpoint) -> f64 {
        match checkpoint {
            Checkpoint::Last => self.report_accuracy_last,
            Checkpoint::Kept => self.report_accuracy_kept,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Epoch {
    pub epoch: u32,
    pub train_loss: f64,
    pub selection_accuracy: f64,
}

impl Outcome {
    /// Reads a result and checks that it is whole and agrees with itself.
    pub fn read(path: &Path) -> Result<Self> {
        let outcome: Self = serde_json::from_str(&files::read(path)?)
            .with_context(|| format!("{} is not a result", path.display()))?;
        outcome
            .check()
            .with_context(|| format!("{} is not a valid result", path.display()))?;
        Ok(outcome)
    }

    fn check(&self) -> Result<()> {
        if let Some(report) = &self.report {
            report.check()?;
        }
        ensure!(
            self.epochs
                .iter()
                .any(|epoch| epoch.epoch == self.kept_epoch),
            "the kept epoch {} is not among the epochs",
            self.kept_epoch
        );
        Ok(())
    }

    /// Fails where this is not the result of `run`, saying in what it differs.
    pub fn check_is_of(&self, run: &Run) -> Result<()> {
        let expected = (run.arm.engine.name(), run.seed, run.learning_rate);
        let found = (self.engine.as_str(), self.seed, self.learning_rate);
        ensure!(
            found == expected,
            "it is of engine {}, seed {} and rate {:e}; wanted {}, {} and {:e}",
            found.0,
            found.1,
            found.2,
            expected.0,
            expected.1,
            expected.2
        );
        if let Some(difference) = run.differs(&self.arguments)? {
            anyhow::bail!("{difference}");
        }
        Ok(())
    }

    /// For committing: paths of this machine cut down to file names.
    pub fn without_paths(mut self) -> Self {
        for value in self.arguments.values_mut() {
            let name = value
                .as_str()
                .filter(|text| text.contains('/'))
                .map(Path::new);
            if let Some(name) = name
                .and_then(Path::file_name)
                .and_then(|name| name.to_str())
            {
                *value = Value::String(name.to_owned());
            }
        }
        self
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("cannot write a result")?;
        text.push('\n');
        files::write_atomic(path, text.as_bytes())
    }

    /// Best accuracy on the selection split, the figure that rates and epochs are chosen by.
    pub fn selection_accuracy(&self) -> f64 {
        let kept = self
            .epochs
            .iter()
            .find(|epoch| epoch.epoch == self.kept_epoch);
        kept.map_or(f64::NAN, |epoch| epoch.selection_accuracy)
    }
}
