mod adapters;
mod files;
mod generate;
mod help;
mod parts;
mod rows;
mod run;
mod search;
mod settings;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use peft_run::data::Task;

pub use adapters::AdapterArgs;
pub use files::{ConvertArgs, InspectArgs, MergeArgs, RunsArgs, VerifyArgs};
pub use generate::{ChatArgs, GenerateArgs};
pub use help::{command, write_all};
pub use parts::{BaseArgs, ColumnArgs, ComputeArgs, ProductArgs};
pub use rows::{EvalArgs, PredictArgs};
pub use run::{PlanArgs, RunArgs, SweepArgs, TrainArgs};
pub use search::{BeginArgs, Sampler, SearchArgs, SearchCommand, SurrogateName, WorkerArgs};
pub use settings::{SettingFlags, flag_names, is_flag};

const TASKS: &str = "classify|multi-label|regress|token-classify|causal-lm";

/// Parameter-efficient fine-tuning of Hugging Face checkpoints.
#[derive(Debug, Parser)]
#[command(name = "peft", version = env!("PEFT_VERSION"), max_term_width = 100)]
pub struct Cli {
    /// Never use the network.
    #[arg(long, global = true)]
    pub offline: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a small model on tweets, or a language model on word problems, and see what LoRA adds.
    Quickstart(QuickstartArgs),
    /// Train an adapter on your data: labelled texts, or text and conversations for a language model.
    Train(Box<TrainArgs>),
    /// Train once for every combination of the settings you list, and compare the runs.
    Sweep(Box<SweepArgs>),
    /// Show what a training run would train, and how much memory and time it would need.
    Plan(Box<PlanArgs>),
    /// Search methods, layers, sizes and learning rates for the best adapter of every size.
    Search(Box<SearchArgs>),
    /// Evaluate a model, with or without an adapter, on labelled data.
    Eval(EvalArgs),
    /// Predict labels or numbers for texts.
    Predict(PredictArgs),
    /// Generate text: continue prompts, or answer them with --chat.
    Generate(Box<GenerateArgs>),
    /// Chat with a language model in the terminal.
    Chat(Box<ChatArgs>),
    /// Merge an adapter into its base model and write the result as a model folder.
    Merge(MergeArgs),
    /// Convert an adapter for other programs: LoRA for PEFT, MLX-LM and llama.cpp, bottlenecks for AdapterHub.
    Convert(ConvertArgs),
    /// Write the HTML report of a run into its folder.
    Report {
        /// Folders written by `peft train`, or folders with such runs up to three levels below.
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
    },
    /// List runs and compare them: a table on a terminal, one JSON object a run otherwise.
    Runs(RunsArgs),
    /// Check an adapter against a base model: names, shapes, size of the changes, loss from merging.
    Verify(VerifyArgs),
    /// Show what a model folder, an adapter or a file of tensors contains.
    Inspect(InspectArgs),
    /// Look at your data before you train on it.
    #[command(subcommand)]
    Data(DataCommand),
    /// Print, check and describe files of settings for `peft train --config`.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List the devices that this binary can run on.
    Devices,
    /// Print a completion script for a shell: `source <(peft completions bash)`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page, or write all of them: `peft man train | man -l -`.
    Man(ManArgs),
}

impl Command {
    /// The verb of which everything is to be shown, instead of what it does.
    pub fn shows_all(&self) -> Option<&'static str> {
        match self {
            Self::Train(args) if args.run.help_all => Some("train"),
            Self::Plan(args) if args.run.help_all => Some("plan"),
            Self::Sweep(args) if args.run.help_all => Some("sweep"),
            Self::Search(args) if args.begin.run.help_all => Some("search"),
            _ => None,
        }
    }

    /// The model that the command works on.
    pub fn model(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Quickstart(args) => args.model.as_mut(),
            Self::Eval(args) => Some(&mut args.model),
            Self::Predict(args) => Some(&mut args.model),
            Self::Generate(args) => Some(&mut args.model),
            Self::Chat(args) => Some(&mut args.model),
            Self::Merge(args) => Some(&mut args.model),
            Self::Convert(args) => Some(&mut args.model),
            Self::Verify(args) => Some(&mut args.model),
            Self::Data(DataCommand::Preview(args)) => Some(&mut args.model),
            // A run's model may be named in a file: it is looked up when all settings are known.
            Self::Train(_)
            | Self::Sweep(_)
            | Self::Plan(_)
            | Self::Search(_)
            | Self::Inspect(_)
            | Self::Report { .. }
            | Self::Runs(_)
            | Self::Devices
            | Self::Completions { .. }
            | Self::Config(_)
            | Self::Man(_) => None,
        }
    }
}

impl Command {
    /// The adapter folders that the command works on.
    pub fn adapters(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Eval(args) => args.adapters.adapter.iter_mut().collect(),
            Self::Predict(args) => args.adapters.adapter.iter_mut().collect(),
            Self::Generate(args) => args.adapters.adapter.iter_mut().collect(),
            Self::Chat(args) => args.adapter.iter_mut().collect(),
            Self::Merge(args) => vec![&mut args.adapter],
            Self::Convert(args) => vec![&mut args.adapter],
            Self::Verify(args) => vec![&mut args.adapter],
            // As with the model, that of a run may be named in a file.
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Fine-tune a language model on word problems, and compare its perplexity and answers with those before.
    #[arg(long)]
    pub causal: bool,
    /// Hugging Face model folder, GGUF file or name on the hub [default: all-MiniLM-L6-v2, with --causal
    /// SmolLM2-135M-Instruct, fetched once into the cache].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Folder to write [default: out/quickstart, with --causal out/quickstart-causal].
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Number of optimiser steps [default: two passes over the tweets, or one over the problems].
    #[arg(long)]
    pub steps: Option<u64>,
    /// Continue a run that was interrupted.
    #[arg(long)]
    pub resume: bool,
    /// Replace the finished runs in --output.
    #[arg(long)]
    pub overwrite: bool,
    /// Random seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

impl QuickstartArgs {
    /// Folder to write.
    pub fn output(&self) -> PathBuf {
        let usual = match self.causal {
            true => "out/quickstart-causal",
            false => "out/quickstart",
        };
        self.output.clone().unwrap_or_else(|| usual.into())
    }
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

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of config files.
    Schema,
    /// Check a config file without loading the model: exit code 0 if it is valid, 1 if not.
    Validate {
        /// TOML or YAML file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Settings that override the file's.
        #[arg(value_name = "KEY=VALUE")]
        arguments: Vec<String>,
    },
    /// Print a config file with every setting, its description and its default.
    Init {
        /// Fine-tuning method.
        #[arg(long, default_value = "lora")]
        method: String,
    },
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The verb, such as train or data preview [default: the binary as a whole].
    #[arg(value_name = "VERB")]
    pub verb: Vec<String>,
    /// Folder to write a page for every verb into.
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Show columns, the first rows as tokens, lengths, truncation and labels.
    Preview(PreviewArgs),
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Hugging Face model folder, GGUF file, or name on the hub: its tokenizer is used.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Rows: csv, tsv, jsonl, parquet or conll.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Task.
    #[arg(long, value_name = TASKS, default_value = "classify")]
    pub task: Task,
    /// Longest sequence in tokens; longer ones are cut.
    #[arg(long, default_value_t = 128)]
    pub max_length: usize,
    /// Number of rows to show.
    #[arg(long, default_value_t = 3)]
    pub rows: usize,
    /// Number of rows to read; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub limit: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub columns: ColumnArgs,
}
