use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use peft_train::{
    BaseDtype, DeviceChoice, ScheduleKind,
    data::{Format, Task},
};

const TASKS: &str = "classify|regress|multi-label";

/// Parameter-efficient fine-tuning of Hugging Face checkpoints.
#[derive(Debug, Parser)]
#[command(name = "peft", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adapt a model to labelled text and write the adapter.
    Train(Box<TrainArgs>),
    /// Show what a training run would adapt, and what memory and time it would take.
    Plan(Box<PlanArgs>),
    /// Measure a model, with or without an adapter, on labelled text.
    Eval(EvalArgs),
    /// Predict the labels of text.
    Predict(PredictArgs),
    /// Write an adapter into its base, as a model folder.
    Merge(MergeArgs),
    /// Hold an adapter against a base: coverage, shapes, what it changes and what a merge would lose.
    Verify(VerifyArgs),
    /// Show what a checkpoint or an adapter holds.
    Inspect(InspectArgs),
    /// Look at data before training on it.
    #[command(subcommand)]
    Data(DataCommand),
    /// List the devices that this binary can compute on.
    Devices,
    /// Print a completion script for a shell: `source <(peft completions bash)`.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Hugging Face model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Labelled rows to learn from: csv, tsv, jsonl or parquet.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Labelled rows to report on; they choose nothing.
    #[arg(long, value_name = "FILE")]
    pub eval_data: Option<PathBuf>,
    /// Labelled rows that choose the checkpoint to keep [default: a seeded tenth of --data].
    #[arg(long, value_name = "FILE")]
    pub select_data: Option<PathBuf>,
    /// What to predict.
    #[arg(long, value_name = TASKS, default_value = "classify")]
    pub task: Task,
    /// Method of adaptation.
    #[arg(long, default_value = "lora")]
    pub method: String,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Adapter folder to continue from.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Go on even if the adapter was trained on another base.
    #[arg(long)]
    pub any_base: bool,
    /// Go on with the interrupted run in --output: it ends in the bits in which it would have ended.
    #[arg(long)]
    pub resume: bool,

    /// Rank [default: 8].
    #[arg(long, help_heading = "Method")]
    pub rank: Option<usize>,
    /// Numerator of LoRA's scale [default: 16].
    #[arg(long, help_heading = "Method")]
    pub alpha: Option<f64>,
    /// Dropout of an adapter's input.
    #[arg(long, value_name = "P", help_heading = "Method")]
    pub adapter_dropout: Option<f64>,
    /// Scale by α/√r instead of α/r.
    #[arg(long, help_heading = "Method")]
    pub use_rslora: bool,
    /// Rank of some modules, by name or regular expression; repeatable.
    #[arg(long, value_name = "PATTERN=N", help_heading = "Method")]
    pub rank_pattern: Vec<String>,
    /// Alpha of some modules, by name or regular expression; repeatable.
    #[arg(long, value_name = "PATTERN=F", help_heading = "Method")]
    pub alpha_pattern: Vec<String>,
    /// Modules to adapt: names separated by commas, a regular expression, or all-linear
    /// [default: queries and values].
    #[arg(long, value_name = "WHICH", help_heading = "Method")]
    pub target_modules: Option<String>,
    /// Modules to leave alone: names separated by commas, or a regular expression.
    #[arg(long, value_name = "WHICH", help_heading = "Method")]
    pub exclude_modules: Option<String>,
    /// Layers to adapt, such as 0,1,5-9.
    #[arg(long, value_name = "LAYERS", help_heading = "Method")]
    pub layers: Option<String>,
    /// Modules trained and saved in full beside the head, separated by commas.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Method"
    )]
    pub modules_to_save: Vec<String>,

    /// Passes over the data.
    #[arg(long, default_value_t = 3.0, help_heading = "Training")]
    pub epochs: f64,
    /// Optimiser steps, instead of epochs.
    #[arg(long, help_heading = "Training")]
    pub steps: Option<u64>,
    /// Rows a batch.
    #[arg(long, default_value_t = 32, help_heading = "Training")]
    pub batch_size: usize,
    /// Batches a step.
    #[arg(long, default_value_t = 1, help_heading = "Training")]
    pub grad_accumulation: usize,
    /// Learning rate of the adapter [default: the method's].
    #[arg(long, help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Learning rate of the head.
    #[arg(long, default_value_t = 2e-3, help_heading = "Training")]
    pub head_learning_rate: f64,
    /// Course of the learning rates: linear, cosine or constant.
    #[arg(long, default_value = "linear", help_heading = "Training")]
    pub schedule: ScheduleKind,
    /// Warm-up: a share of the steps, or a number of them from 1 up.
    #[arg(long, default_value_t = 0.06, help_heading = "Training")]
    pub warmup: f64,
    /// Decoupled weight decay.
    #[arg(long, default_value_t = 0.0, help_heading = "Training")]
    pub weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    #[arg(long, default_value_t = 1.0, help_heading = "Training")]
    pub clip: f64,
    /// Dropout of the model itself [default: the checkpoint's].
    #[arg(long, value_name = "P", help_heading = "Training")]
    pub model_dropout: Option<f64>,
    /// Keep the frozen matrices in half precision: half the memory for them.
    #[arg(long, value_name = "TYPE", help_heading = "Training")]
    pub base_dtype: Option<BaseDtype>,
    /// Compute the blocks again for their gradients instead of keeping what they need: less memory,
    /// more time.
    #[arg(long, help_heading = "Training")]
    pub recompute: bool,
    /// Longest sequence in tokens; longer ones are cut.
    #[arg(long, default_value_t = 128, help_heading = "Training")]
    pub max_length: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0, help_heading = "Training")]
    pub seed: u64,

    /// Steps between two saved states [default: a minute of time].
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub save_steps: Option<u64>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// What progress looks like: auto (a bar on a terminal), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The flags of `peft train`; --data is read if it is given, and nothing is written.
    #[command(flatten)]
    pub run: TrainArgs,
    /// Measure this machine for a second first, for estimates of time; kept in PEFT_CACHE.
    #[arg(long)]
    pub calibrate: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A bar on a terminal, plain lines elsewhere.
    Auto,
    /// Plain lines.
    Plain,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub struct ColumnArgs {
    /// Column of the text [default: detected].
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub text_column: Option<String>,
    /// Column of the second text of a pair [default: detected].
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub pair_column: Option<String>,
    /// Column of the label, or with --task multi-label several of 0 and 1, separated by commas
    /// [default: detected].
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub label_column: Option<String>,
    /// What stands between several labels in one text, with --task multi-label [default: a comma].
    #[arg(long, value_name = "CHAR", help_heading = "Data")]
    pub label_separator: Option<String>,
    /// csv, tsv, jsonl, parquet or text [default: by the file's ending].
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub data_format: Option<Format>,
}

#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// auto, cpu, cuda, cuda:N, vulkan, metal or wgpu.
    #[arg(long, default_value = "auto", help_heading = "Compute")]
    pub device: DeviceChoice,
    /// Threads [default: all cores].
    #[arg(long, help_heading = "Compute")]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Hugging Face model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Go on even if the adapter was trained on another base.
    #[arg(long)]
    pub any_base: bool,
    /// Labelled rows: csv, tsv, jsonl or parquet.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// What to predict [default: what the adapter was trained for].
    #[arg(long, value_name = TASKS)]
    pub task: Option<Task>,
    /// Rows a batch.
    #[arg(long, default_value_t = 64)]
    pub batch_size: usize,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Hugging Face model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Go on even if the adapter was trained on another base.
    #[arg(long)]
    pub any_base: bool,
    /// Rows: csv, tsv, jsonl or parquet; `-` for JSON lines on standard input.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// File to write, one JSON object a row [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Rows a batch.
    #[arg(long, default_value_t = 64)]
    pub batch_size: usize,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Hugging Face model folder: the base that the adapter was trained on.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Type of the merged model's floating-point tensors: f32, f16 or bf16 [default: as they are].
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<BaseDtype>,
    /// Merge even if rounding swallows more than 5 % of a change.
    #[arg(long)]
    pub allow_loss: bool,
    /// Go on even if the adapter was trained on another base.
    #[arg(long)]
    pub any_base: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Hugging Face model folder: the base.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Model folder, adapter folder, or a file of tensors.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Columns, first rows as tokens, lengths, truncation and labels.
    Preview(PreviewArgs),
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Hugging Face model folder, whose tokenizer counts.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Rows: csv, tsv, jsonl or parquet.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// What would be predicted.
    #[arg(long, value_name = TASKS, default_value = "classify")]
    pub task: Task,
    /// Longest sequence in tokens; longer ones are cut.
    #[arg(long, default_value_t = 128)]
    pub max_length: usize,
    /// Rows shown.
    #[arg(long, default_value_t = 3)]
    pub rows: usize,
    /// Rows read; 0 for all of them.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub limit: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub columns: ColumnArgs,
}
