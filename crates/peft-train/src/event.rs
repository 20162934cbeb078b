//! What a run tells while it works.

use std::{fs::File, io::Write, path::Path};

use serde::Serialize;

use crate::{Metrics, Plan, TrainError};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Before the first step.
    Plan {
        /// What is trained, and what it will cost.
        #[serde(flatten)]
        plan: Box<Plan>,
        /// The device, and why it.
        device: String,
    },
    /// After an optimiser step.
    Step {
        /// Steps done.
        step: u64,
        /// Loss of the batch.
        loss: f64,
        /// Learning rate of adapters.
        learning_rate: f64,
        /// Norm of all gradients before clipping.
        gradient_norm: f64,
        /// Tokens a second, without padding.
        tokens_per_s: f64,
        /// Seconds.
        step_time_s: f64,
        /// Largest resident set so far, in bytes.
        peak_memory: Option<u64>,
    },
    /// After an evaluation.
    Eval {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epoch: f64,
        /// `selection` or `report`.
        split: &'static str,
        /// Mean loss.
        loss: f64,
        /// The task's metrics.
        #[serde(flatten)]
        metrics: Metrics,
    },
    /// At the end.
    Final {
        /// Steps done.
        step: u64,
        /// `best` or `last`: the checkpoint whose numbers follow, kept in the output folder.
        kept: &'static str,
        /// The step at which it was taken.
        kept_step: u64,
        /// Which rows: `report`, or `selection` where no evaluation data is given.
        split: &'static str,
        /// Mean loss.
        loss: f64,
        /// Seconds of training, without evaluation.
        train_time_s: f64,
        /// Largest resident set of the run, in bytes.
        peak_memory: Option<u64>,
        /// The task's metrics.
        #[serde(flatten)]
        metrics: Metrics,
    },
}

/// Watches a run.
pub trait Progress {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Whether to save and stop before the next step.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Progress for () {
    fn event(&mut self, _: &Event) {}
}

/// Writes events to a file and passes them on.
pub(crate) struct Recorder<'a> {
    file: File,
    path: std::path::PathBuf,
    pub progress: &'a mut dyn Progress,
}

impl<'a> Recorder<'a> {
    pub fn create(path: &Path, progress: &'a mut dyn Progress) -> Result<Self, TrainError> {
        let file = File::create(path).map_err(|error| fault(path, &error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            progress,
        })
    }

    pub fn event(&mut self, event: &Event) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|error| fault(&self.path, &error))?;
        self.progress.event(event);
        Ok(())
    }
}

pub(crate) fn fault(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::File {
        path: path.to_owned(),
        problem: error.to_string(),
        fix: "check the folder's rights and the free space".into(),
    }
}
