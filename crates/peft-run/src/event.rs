//! What a run tells while it works.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use peft_format::FormatError;
use serde::Serialize;
use serde_json::Value;

use crate::{Metrics, Plan, RunError, session, tensorboard::EventFile};

/// Name of the file of events in an output folder.
pub(crate) const LOG: &str = "metrics.jsonl";

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
        /// The processor and its threads.
        machine: String,
        /// The version of this program.
        peft: &'static str,
        /// The commit that it was built from, where it [says so](crate::built_from).
        #[serde(skip_serializing_if = "Option::is_none")]
        commit: Option<&'static str>,
        /// When it was, in seconds since 1970.
        unix_time: u64,
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
    /// After an optimiser step of a warm-up, before the run's own adapters are made.
    #[serde(rename = "warm-up")]
    WarmUp {
        /// Steps done in it.
        step: u64,
        /// Steps to do in it.
        steps: u64,
        /// Loss of the batch.
        loss: f64,
        /// Learning rate of adapters.
        learning_rate: f64,
        /// Norm of all gradients before clipping.
        gradient_norm: f64,
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
        /// What the optimiser and the method remember from step to step, in bytes.
        optimizer_bytes: usize,
        /// The task's metrics.
        #[serde(flatten)]
        metrics: Metrics,
    },
}

/// Watches a run.
pub trait Progress {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Something that a user might not expect, as a sentence; it is not part of `metrics.jsonl`.
    fn notice(&mut self, _text: &str) {}

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
    path: PathBuf,
    /// Bytes of the file.
    length: u64,
    /// The same for TensorBoard.
    scalars: EventFile,
    pub progress: &'a mut dyn Progress,
}

impl<'a> Recorder<'a> {
    /// Go on after the first `keep` bytes of the log in `output`, or start it with 0; `log` is the
    /// file if it is open and locked already.
    pub fn open(
        log: Option<File>,
        output: &Path,
        keep: u64,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, RunError> {
        std::fs::create_dir_all(output).map_err(|error| fault(output, &error))?;
        let path = output.join(LOG);
        let mut file = match log {
            Some(file) => file,
            None => {
                let new = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path)
                    .map_err(|error| fault(&path, &error))?;
                session::lock(&new, output)?;
                new
            }
        };
        let mut cut = || {
            // Somebody may have shortened or removed it; lengthening would fill it with zeros.
            let length = keep.min(file.metadata()?.len());
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))
        };
        let length = cut().map_err(|error| fault(&path, &error))?;
        let lines = match length {
            0 => Vec::new(),
            _ => parsed(&path)?,
        };
        Ok(Self {
            file,
            length,
            scalars: EventFile::open(output, &lines)?,
            path,
            progress,
        })
    }

    pub fn event(&mut self, event: &Event) -> Result<(), RunError> {
        let value = serde_json::to_value(event).unwrap_or_default();
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(FormatError::io("write", &self.path))?;
        self.length += line.len() as u64;
        self.scalars.add(&value)?;
        self.progress.event(event);
        Ok(())
    }

    /// Make what was written durable; returns its length in bytes.
    pub fn sync(&mut self) -> Result<u64, RunError> {
        self.file
            .sync_data()
            .map_err(FormatError::io("sync", &self.path))?;
        Ok(self.length)
    }
}

/// The lines of a log.
fn parsed(path: &Path) -> Result<Vec<Value>, RunError> {
    let log = File::open(path).map_err(|error| fault(path, &error))?;
    let lines = BufReader::new(log).lines();
    let parsed = lines.map(|line| {
        let line = line.map_err(|error| fault(path, &error))?;
        Ok(serde_json::from_str(&line).unwrap_or_default())
    });
    parsed.collect()
}

pub(crate) fn fault(path: &Path, error: &std::io::Error) -> RunError {
    RunError::File {
        path: path.to_owned(),
        problem: error.to_string(),
        fix: "check the folder's rights and the free space".into(),
    }
}
