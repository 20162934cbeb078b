//! A whole run: from files to an adapter folder.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use burn::tensor::FloatDType;
use peft_data::{ColumnMap, ReadOptions, Task};
use peft_format::{Dtype, TargetSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    AdamWConfig, DeviceChoice, Evaluation, Progress, ScheduleKind, TrainError, TrainerConfig,
    session::{Session, Started},
};

/// A type in which frozen matrices can be kept, and merged models written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseDtype {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16: the range of `f32` with 8 bits of mantissa.
    Bf16,
}

impl FromStr for BaseDtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err("the types are f32, f16 and bf16".into()),
        }
    }
}

impl From<BaseDtype> for FloatDType {
    fn from(dtype: BaseDtype) -> Self {
        match dtype {
            BaseDtype::F32 => Self::F32,
            BaseDtype::F16 => Self::F16,
            BaseDtype::Bf16 => Self::BF16,
        }
    }
}

impl From<BaseDtype> for Dtype {
    fn from(dtype: BaseDtype) -> Self {
        match dtype {
            BaseDtype::F32 => Self::F32,
            BaseDtype::F16 => Self::F16,
            BaseDtype::Bf16 => Self::BF16,
        }
    }
}

/// Everything that determines a run, and how it is carried out.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Hugging Face model folder.
    pub model: PathBuf,
    /// Labelled rows to learn from.
    pub data: PathBuf,
    /// Labelled rows that choose the checkpoint to keep; else a seeded tenth of `data`.
    pub select_data: Option<PathBuf>,
    /// Labelled rows that are only reported on.
    pub eval_data: Option<PathBuf>,
    /// Columns of the data.
    pub columns: ColumnMap,
    /// Format of the data, where the files' endings do not tell.
    pub read: ReadOptions,
    /// What stands between several labels in one text.
    pub label_separator: char,
    /// Classification or regression.
    pub task: Task,
    /// Name of the method.
    pub method: String,
    /// Settings of the method that differ from its defaults.
    pub method_config: Map<String, Value>,
    /// Which modules to adapt; the family's queries and values by default.
    pub targets: Option<TargetSpec>,
    /// Adapter folder to continue from.
    pub adapter: Option<PathBuf>,
    /// Continue even on another base than the one the adapter was trained on.
    pub any_base: bool,
    /// Folder to write.
    pub output: PathBuf,
    /// Passes over the data.
    pub epochs: f64,
    /// Optimiser steps; overrides `epochs`.
    pub steps: Option<u64>,
    /// Rows a batch.
    pub batch_size: usize,
    /// Batches a step.
    pub grad_accumulation: usize,
    /// Learning rate of adapters; the method's own by default.
    pub learning_rate: Option<f64>,
    /// Learning rate of the head.
    pub head_learning_rate: f64,
    /// Schedule of both rates.
    pub schedule: ScheduleKind,
    /// Warm-up: a share of the steps, or a number of them.
    pub warmup: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    pub clip_norm: f64,
    /// Dropout of the model itself: the checkpoint's, unless set.
    pub model_dropout: Option<f64>,
    /// Type in which the frozen matrices are kept; that of the computation, unless set.
    pub base_dtype: Option<BaseDtype>,
    /// Keep only the inputs of the blocks, and compute them again for their gradients: less memory,
    /// more time.
    pub recompute: bool,
    /// Longest sequence; longer ones are cut.
    pub max_length: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Steps between two saved states; by default a minute passes between them. States are saved
    /// after every selection too.
    pub save_steps: Option<u64>,
    /// Go on with the interrupted run in the output folder instead of starting one.
    pub resume: bool,
}

impl RunConfig {
    /// A run with every setting at its default.
    pub fn new(model: &Path, data: &Path, task: Task, method: &str, output: &Path) -> Self {
        Self {
            model: model.to_owned(),
            data: data.to_owned(),
            select_data: None,
            eval_data: None,
            columns: ColumnMap::default(),
            read: ReadOptions::default(),
            label_separator: ',',
            task,
            method: method.to_owned(),
            method_config: Map::new(),
            targets: None,
            adapter: None,
            any_base: false,
            output: output.to_owned(),
            epochs: 3.0,
            steps: None,
            batch_size: 32,
            grad_accumulation: 1,
            learning_rate: None,
            head_learning_rate: 2e-3,
            schedule: ScheduleKind::Linear,
            warmup: 0.06,
            weight_decay: 0.0,
            clip_norm: 1.0,
            model_dropout: None,
            base_dtype: None,
            recompute: false,
            max_length: 128,
            seed: 0,
            device: DeviceChoice::Auto,
            save_steps: None,
            resume: false,
        }
    }

    pub(crate) fn trainer(&self, learning_rate: f64) -> TrainerConfig {
        TrainerConfig {
            learning_rate,
            head_learning_rate: self.head_learning_rate,
            clip_norm: (self.clip_norm > 0.0).then_some(self.clip_norm),
            optimizer: AdamWConfig {
                weight_decay: self.weight_decay,
                ..AdamWConfig::default()
            },
            seed: self.seed,
        }
    }

    /// Optimiser steps that see every row once.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        rows.div_ceil(self.batch_size * self.grad_accumulation)
    }

    /// Optimiser steps of the run on so many rows.
    pub fn total_steps(&self, rows: usize) -> u64 {
        let all = self.epochs * self.steps_per_epoch(rows) as f64;
        self.steps.unwrap_or(all.round().max(1.0) as u64)
    }

    pub(crate) fn validate(&self) -> Result<(), TrainError> {
        let rates = [
            ("--learning-rate", self.learning_rate.unwrap_or(1.0)),
            ("--head-learning-rate", self.head_learning_rate),
        ];
        for (flag, rate) in rates {
            if !rate.is_finite() || rate <= 0.0 {
                return Err(TrainError::setting(
                    flag,
                    format!("{rate} is no rate"),
                    "give one above 0",
                ));
            }
        }
        let amounts = [
            ("--epochs", self.epochs),
            ("--warmup", self.warmup),
            ("--weight-decay", self.weight_decay),
            ("--clip-norm", self.clip_norm),
        ];
        for (flag, amount) in amounts {
            if !amount.is_finite() || amount < 0.0 {
                return Err(TrainError::setting(
                    flag,
                    format!("{amount} makes no sense"),
                    "give 0 or more",
                ));
            }
        }
        if self.model_dropout.is_some_and(|p| !(0.0..1.0).contains(&p)) {
            return Err(TrainError::setting(
                "--model-dropout",
                "it is no probability",
                "give one below 1",
            ));
        }
        if self.batch_size == 0 || self.grad_accumulation == 0 {
            return Err(TrainError::setting(
                "--batch-size",
                "a batch is empty",
                "give 1 or more",
            ));
        }
        if self.max_length == 0 {
            return Err(TrainError::setting(
                "--max-length",
                "rows would have no tokens",
                "give 3 or more",
            ));
        }
        if self.save_steps == Some(0) {
            return Err(TrainError::setting(
                "--save-steps",
                "there is no step to save after",
                "give 1 or more",
            ));
        }
        if self.steps == Some(0) || (self.steps.is_none() && self.epochs == 0.0) {
            return Err(TrainError::setting(
                "--steps",
                "nothing would be trained",
                "give 1 or more",
            ));
        }
        Ok(())
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Steps done.
    pub steps: u64,
    /// The step whose adapter is kept in the output folder.
    pub kept_step: u64,
    /// The kept adapter on the rows that selected it.
    pub selection: Evaluation,
    /// The kept adapter on the evaluation data.
    pub report: Option<Evaluation>,
}

/// Train an adapter and write it to the output folder: the best by selection there, the last one
/// in `last/`, events in `metrics.jsonl`, and what to resume from in `checkpoint/`.
///
/// With [`RunConfig::resume`], the run that was interrupted in the output folder ends in the bits in
/// which it would have ended, at whatever number of threads, provided that nothing else has changed
/// that they depend on: otherwise it is refused. A finished run is reported again. Without it, an
/// output folder with an interrupted run is refused.
///
/// # Errors
/// If a setting, a file or the data makes no sense, training breaks down, or the output cannot be
/// written; [`TrainError::Interrupted`] if `progress` asks to stop.
pub fn train(config: &RunConfig, progress: &mut dyn Progress) -> Result<RunReport, TrainError> {
    config.validate()?;
    match Session::start(config, progress)? {
        Started::Ready(session) => session.run(),
        Started::Finished(report) => Ok(report),
    }
}
