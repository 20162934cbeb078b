//! A whole run: from files to an adapter folder.

use std::path::{Path, PathBuf};

use peft_config::Problems;
use peft_core::Method;
use peft_data::{Delimiter, Format, LossOn, Task};
use peft_format::TargetModules;
use peft_train::{AdamWConfig, TrainerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    BaseDtype, BaseOptions, ClassWeights, ComputeType, DeviceChoice, Evaluation, Prepared,
    Progress, Quantize, RunError, ScheduleKind,
    config::{NamesOrPattern, NumbersOrRanges},
    session::{Claim, Session, Started},
};

/// Everything that determines a run, and how it is carried out.
///
/// This struct is the one definition of the settings: of their names in files, of the flags and their
/// help, of the defaults, and of the JSON Schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(
    title = "Settings of peft train",
    description = "What `peft train --config` reads."
)]
pub struct RunConfig {
    /// Hugging Face model folder, GGUF file, or organisation/name of a model on the hub (organisation/name:Q4_K_M for a GGUF file there).
    #[schemars(extend("x-value" = "DIR"))]
    pub model: PathBuf,
    /// Labelled rows to learn from: csv, tsv, jsonl, parquet or conll.
    #[schemars(extend("x-value" = "FILE"))]
    pub data: PathBuf,
    /// Labelled rows to report on; they do not influence training or the choice of the adapter.
    #[schemars(extend("x-value" = "FILE"))]
    pub eval_data: Option<PathBuf>,
    /// Labelled rows that choose which checkpoint to keep.
    #[schemars(extend("x-value" = "FILE", "x-default" = "a seeded tenth of the data"))]
    pub select_data: Option<PathBuf>,
    /// Task.
    pub task: Task,
    /// Fine-tuning method.
    pub method: String,
    /// Folder to write.
    #[schemars(extend("x-value" = "DIR"))]
    pub output: PathBuf,
    /// Adapter folder to continue from.
    #[schemars(extend("x-value" = "DIR"))]
    pub adapter: Option<PathBuf>,
    /// Continue even on another base than the one the adapter was trained on.
    pub any_base: bool,
    /// Put a new classifier head on the model, to train on other labels than those of the checkpoint's own head.
    pub new_head: bool,

    /// Modules to adapt: names separated by commas, a regular expression, or all-linear.
    #[serde(with = "crate::config::targets")]
    #[schemars(
        with = "NamesOrPattern",
        extend("x-value" = "WHICH", "x-default" = "queries and values", "x-heading" = "Method")
    )]
    pub target_modules: TargetModules,
    /// Modules to leave out: names separated by commas, or a regular expression.
    #[serde(with = "crate::config::targets")]
    #[schemars(with = "NamesOrPattern", extend("x-value" = "WHICH"))]
    pub exclude_modules: TargetModules,
    /// Layers to adapt, such as 0,1,5-9.
    #[serde(with = "crate::config::layers")]
    #[schemars(with = "NumbersOrRanges", extend("x-value" = "LAYERS", "x-default" = "all"))]
    pub layers: Vec<usize>,
    /// Names that come before the layer number in a module path, separated by commas.
    #[schemars(extend("x-value" = "NAMES", "x-default" = "the first number in a path counts"))]
    pub layers_pattern: Vec<String>,
    /// Modules to train and save in full, in addition to the head, separated by commas.
    #[schemars(extend("x-value" = "NAMES"))]
    pub modules_to_save: Vec<String>,
    /// Biases of the base trained beside the adapters, at their rate: none, all, or lora_only for those of adapted
    /// layers.
    #[schemars(extend("x-value" = "WHICH"))]
    pub bias: String,

    /// Epochs: passes over the data.
    #[schemars(extend("x-heading" = "Training"))]
    pub epochs: f64,
    /// Optimiser steps, instead of epochs.
    pub steps: Option<u64>,
    /// Epochs between two evaluations on the selection rows; there is always one after the last step.
    pub select_epochs: u64,
    /// Steps between two evaluations on the selection rows, instead of epochs.
    #[schemars(extend("x-value" = "N"))]
    pub eval_steps: Option<u64>,
    /// Metric that chooses the adapter to keep, as the evaluations name it; of equal ones the lower loss does.
    #[schemars(extend("x-value" = "NAME", "x-default" = "accuracy for classify, f1 for multi-label and token-classify, else the loss"))]
    pub select_metric: Option<String>,
    /// Stop after this many evaluations in a row without improvement.
    #[schemars(extend("x-value" = "N"))]
    pub early_stopping: Option<u64>,
    /// Weights of the classes in the loss: balanced (each class counts alike, as in scikit-learn), or a JSON file
    /// of labels and weights; a label that is not in it has weight 1.
    #[schemars(with = "Option<String>", extend("x-value" = "WHICH"))]
    pub class_weights: Option<ClassWeights>,
    /// Rows per batch.
    pub batch_size: usize,
    /// Batches per optimiser step.
    pub grad_accumulation: usize,
    /// Learning rate of the adapter.
    #[schemars(extend("x-default" = "the method's"))]
    pub learning_rate: Option<f64>,
    /// Learning rate of the head.
    #[schemars(extend("x-default" = "2e-3, or 2e-2 for a new one of more than two classes behind an encoder"))]
    pub head_learning_rate: Option<f64>,
    /// Schedule of the learning rates.
    pub schedule: ScheduleKind,
    /// Warm-up: a share of the steps, or a number of steps if it is 1 or more.
    pub warmup: f64,
    /// Decoupled weight decay; not of biases and norms, as in Hugging Face's Trainer.
    pub weight_decay: f64,
    /// Gradient clipping: largest norm of all gradients together; 0 for no limit.
    pub clip: f64,
    /// Dropout of the model itself.
    #[schemars(extend("x-value" = "P", "x-default" = "the checkpoint's"))]
    pub model_dropout: Option<f64>,
    /// Type of the frozen weights in memory: half precision needs half the memory.
    #[schemars(extend("x-value" = "TYPE", "x-default" = "f32, or the blocks of a quantised file"))]
    pub base_dtype: Option<BaseDtype>,
    /// Quantise the weights of the frozen linear layers as they are loaded, as QLoRA does; a GGUF file or an NF4 checkpoint keeps
    /// its own blocks by itself.
    #[schemars(extend("x-value" = "TYPE", "x-default" = "no"))]
    pub quantize: Option<Quantize>,
    /// Type in which products are computed on the CPU: bf16 rounds their factors, which is faster on processors with
    /// AMX, on some with AVX-512 BF16, and changes results in the third digit.
    #[schemars(extend("x-value" = "TYPE", "x-default" = "f32"))]
    pub compute: ComputeType,
    /// Compute the blocks again for their gradients instead of keeping what they need: less memory,
    /// more time.
    pub recompute: bool,
    /// Longest sequence in tokens; longer ones are cut.
    pub max_length: usize,
    /// Random seed.
    pub seed: u64,

    /// Column of the text.
    #[schemars(extend("x-value" = "NAME", "x-default" = "detected", "x-heading" = "Data"))]
    pub text_column: Option<String>,
    /// Column of the second text of a pair.
    #[schemars(extend("x-value" = "NAME", "x-default" = "detected"))]
    pub pair_column: Option<String>,
    /// Column of the label; for several labels a row this may be several columns of 0 and 1, separated
    /// by commas.
    #[schemars(extend("x-value" = "NAME", "x-default" = "detected"))]
    pub label_column: Option<String>,
    /// Character between several labels in one cell.
    pub label_separator: char,
    /// Tokens that count in the loss of a language model: all, assistant, last or completion.
    #[schemars(extend("x-value" = "WHICH", "x-default" = "by the kind of rows"))]
    pub loss: Option<LossOn>,
    /// Format of the data: csv, tsv, jsonl, parquet, conll or text.
    #[schemars(extend("x-value" = "FORMAT", "x-default" = "by the file's ending"))]
    pub data_format: Option<Format>,
    /// Field separator of a csv or tsv file: a character, or tab, comma, semicolon or pipe.
    #[schemars(with = "Option<String>", extend("x-value" = "CHAR", "x-default" = "by the header"))]
    pub delimiter: Option<Delimiter>,
    /// The csv or tsv file has no header line: its columns are called column1, column2 and so on.
    pub no_header: bool,

    /// Device to run on: auto, cpu, cuda, cuda:N, vulkan, metal or wgpu.
    #[schemars(with = "String", extend("x-heading" = "Compute"))]
    pub device: DeviceChoice,
    /// Threads. They belong to the process, which starts them before it trains; on the CPU their
    /// number does not change a bit of the result.
    #[schemars(extend("x-default" = "all cores"))]
    pub threads: Option<usize>,

    /// Steps between two checkpoints to resume from. One is also saved after every evaluation.
    #[schemars(extend("x-value" = "N", "x-default" = "a minute of time", "x-heading" = "Output"))]
    pub save_steps: Option<u64>,
    /// Number of rows with the highest loss whose texts are kept for the report; 0 for none.
    pub worst_rows: usize,
    /// Go on with the interrupted run in the output folder instead of starting one. Asked for on the
    /// command line only, for it says nothing about the run itself.
    #[serde(skip)]
    pub resume: bool,
    /// Replace the finished run in the output folder. On the command line only, as `resume`.
    #[serde(skip)]
    pub overwrite: bool,

    /// The method's own settings, by PEFT's names; those that are not given have the method's
    /// defaults.
    #[schemars(extend("x-flag" = ""))]
    pub method_config: Map<String, Value>,
}

/// Every setting at its default. The model, the data and the output have none: they are empty, which
/// [`train`] refuses.
impl Default for RunConfig {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            data: PathBuf::new(),
            eval_data: None,
            select_data: None,
            task: Task::Classify,
            method: "lora".into(),
            output: PathBuf::new(),
            adapter: None,
            any_base: false,
            new_head: false,
            target_modules: TargetModules::Unspecified,
            exclude_modules: TargetModules::Unspecified,
            layers: Vec::new(),
            layers_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            bias: "none".into(),
            epochs: 3.0,
            steps: None,
            select_epochs: 1,
            eval_steps: None,
            select_metric: None,
            early_stopping: None,
            class_weights: None,
            batch_size: 32,
            grad_accumulation: 1,
            learning_rate: None,
            head_learning_rate: None,
            schedule: ScheduleKind::Linear,
            warmup: 0.06,
            weight_decay: 0.0,
            clip: 1.0,
            model_dropout: None,
            base_dtype: None,
            quantize: None,
            compute: ComputeType::F32,
            recompute: false,
            max_length: 128,
            seed: 0,
            text_column: None,
            pair_column: None,
            label_column: None,
            label_separator: ',',
            loss: None,
            data_format: None,
            delimiter: None,
            no_header: false,
            device: DeviceChoice::Auto,
            threads: None,
            save_steps: None,
            worst_rows: 20,
            resume: false,
            overwrite: false,
            method_config: Map::new(),
        }
    }
}

/// Learning rate of heads, and of other modules that are trained in full, where none is given.
const HEAD_RATE: f64 = 2e-3;

/// The same of a new classifier of more than two classes that is one layer behind an encoder. A row has something to say about each
/// class, and is rarely its, so at the rate of two classes a short run ends long before the head has learned
/// (`docs/studies/head-rate-8`, `-20`, `-41`).
const RATE_OF_MANY: f64 = 2e-2;

/// Learning rate of a head where none is given. `new` are its layers that the base lacks. The higher rate was found for a
/// head alone, so it is for none that has learned already, nor where other modules are trained at it.
pub(crate) fn head_rate(config: &RunConfig, classes: usize, new: &[String], encoder: bool) -> f64 {
    let alone = config.modules_to_save.is_empty() && config.bias == "none";
    let fresh = config.adapter.is_none() && new.len() == 1;
    match config.task {
        Task::Classify if classes > 2 && encoder && fresh && alone => RATE_OF_MANY,
        _ => HEAD_RATE,
    }
}

impl RunConfig {
    /// How the frozen matrices are kept.
    pub(crate) fn base_options(&self) -> BaseOptions {
        BaseOptions {
            dtype: self.base_dtype,
            quantize: self.quantize,
        }
    }

    /// A run with every other setting at its default.
    pub fn new(model: &Path, data: &Path, task: Task, method: &str, output: &Path) -> Self {
        Self {
            model: model.to_owned(),
            data: data.to_owned(),
            task,
            method: method.to_owned(),
            output: output.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn trainer(&self, learning_rate: f64) -> TrainerConfig {
        TrainerConfig {
            learning_rate,
            head_learning_rate: self.head_learning_rate.unwrap_or(HEAD_RATE),
            clip_norm: (self.clip > 0.0).then_some(self.clip),
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
/// in `last/`, events in `metrics.jsonl`, all settings in `run.toml`, a
/// model card and plots, and what to resume from in `checkpoint/`.
///
/// With [`RunConfig::resume`], the run that was interrupted in the output folder ends in the bits in
/// which it would have ended, at whatever number of threads, provided that nothing else has changed
/// that they depend on: otherwise it is refused. A finished run is reported again. Without it, an
/// output folder with an interrupted run is refused, and one with a finished run unless
/// [`RunConfig::overwrite`] says to replace it. Files that no run wrote are never replaced.
///
/// # Errors
/// If a setting, a file or the data makes no sense, training breaks down, or the output cannot be
/// written; [`RunError::Interrupted`] if `progress` asks to stop.
pub fn train(config: &RunConfig, progress: &mut dyn Progress) -> Result<RunReport, RunError> {
    Problems::check(config.problems())?;
    let claim = Claim::of(config, progress)?;
    go(config, None, Prepared::load(config)?, claim, progress)
}

/// As [`train`] on a base and data that other runs of the process share: the adapter, its folder and its
/// bits are the same.
///
/// # Errors
/// As [`train`], and [`RunError::NotPrepared`] if the settings ask for something else than what is prepared.
pub fn train_prepared(
    prepared: &Prepared,
    config: &RunConfig,
    progress: &mut dyn Progress,
) -> Result<RunReport, RunError> {
    Problems::check(config.problems())?;
    prepared.expect_fits(config)?;
    let claim = Claim::of(config, progress)?;
    go(config, None, prepared.clone(), claim, progress)
}

/// As [`train_prepared`] with a method of the caller's own, which the registry need not know: the
/// configuration's settings of the method count for nothing, and its learning rate must be given.
///
/// # Errors
/// As [`train_prepared`].
pub fn train_method(
    prepared: &Prepared,
    config: &RunConfig,
    method: Box<dyn Method>,
    progress: &mut dyn Progress,
) -> Result<RunReport, RunError> {
    Problems::check(config.problems_but_method())?;
    if config.adapter.is_some() {
        return Err(RunError::setting(
            "`adapter`",
            "an adapter is continued with the method that it was made by",
            "leave it out",
        ));
    }
    prepared.expect_fits(config)?;
    let config = RunConfig {
        method: method.name().to_owned(),
        method_config: method.config(),
        ..config.clone()
    };
    let claim = Claim::of(&config, progress)?;
    go(&config, Some(method), prepared.clone(), claim, progress)
}

fn go(
    config: &RunConfig,
    own: Option<Box<dyn Method>>,
    prepared: Prepared,
    claim: Claim,
    progress: &mut dyn Progress,
) -> Result<RunReport, RunError> {
    match Session::start(config, own, prepared, claim, progress)? {
        Started::Ready(session) => session.run(),
        Started::Finished(report) => Ok(report),
    }
}
