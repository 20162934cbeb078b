mod adapters;
mod generate;
mod help;
mod search;
mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use peft_run::{
    AdapterFormat, BaseDtype, BaseOptions, ByteSize, ComputeType, DeviceChoice, Quantize,
    RunConfig, RunError, Sources,
    data::{Delimiter, Format, Task},
    recorded,
};

use crate::commands::OutputFormat;

pub use adapters::AdapterArgs;
pub use generate::{ChatArgs, GenerateArgs};
pub use help::{command, write_all};
pub use search::{BeginArgs, Sampler, SearchArgs, SearchCommand, WorkerArgs};
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

#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Continue the interrupted run in --output; no other flag is needed, and the result is bit-identical to an
    /// uninterrupted run.
    #[arg(long)]
    pub resume: bool,
    /// Replace the finished run in --output; nothing else is ever replaced.
    #[arg(long)]
    pub overwrite: bool,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

/// The settings of a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Config file, TOML or YAML; flags override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: SettingFlags,
    /// Settings by their names in a config file, such as batch_size=8 or method_config.r=4; they override
    /// flags.
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,
    /// Show every flag, including those of single methods.
    #[arg(long)]
    pub help_all: bool,
}

impl RunArgs {
    /// The settings that these come to.
    pub fn resolve(&self) -> Result<RunConfig, RunError> {
        RunConfig::resolve(&self.sources())
    }

    /// The settings of the run that is gone on with: those that it recorded in its folder, unless a file, or a
    /// model or data, say that everything is given again.
    pub fn resolve_resumed(&self) -> Result<RunConfig, RunError> {
        let given = |key| self.given(key).is_some();
        let again = self.config.is_some() || given("model") || given("data");
        match self.given("output").filter(|_| !again) {
            Some(output) => {
                let record = recorded(Path::new(output))?;
                RunConfig::resolve(&Sources {
                    file: Some(&record),
                    ..self.sources()
                })
            }
            None => self.resolve(),
        }
    }

    /// What was given for a setting last: by `KEY=VALUE`, which overrules flags, or by a flag.
    pub fn given(&self, key: &str) -> Option<&str> {
        let argument = |one: &&String| one.split('=').next().map(str::trim) == Some(key);
        let flag = self.flags.0.iter().rev().find(|flag| flag.name == key);
        let argument = self.arguments.iter().rev().find(argument);
        let argument = argument.and_then(|one| Some(one.split_once('=')?.1));
        argument.or(flag.map(|flag| flag.text.as_str()))
    }

    /// The number of threads, if one is given.
    pub fn threads(&self) -> Result<Option<usize>> {
        let number = |text: &str| {
            let number = text.trim().parse();
            number.with_context(|| format!("--threads {text}: expected a whole number"))
        };
        self.given("threads").map(number).transpose()
    }

    /// The same for a plan, which needs neither data nor an output.
    pub fn resolve_plan(&self) -> Result<RunConfig, RunError> {
        RunConfig::resolve_plan(&self.sources())
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            file: self.config.as_deref(),
            flags: &self.flags.0,
            arguments: &self.arguments,
        }
    }
}

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// A setting and its values, such as rank=4,8 or learning-rate=1e-3,2e-3; values with commas in them are
    /// separated by semicolons. Given several times, every combination is trained.
    #[arg(long, value_name = "NAME=V,V")]
    pub over: Vec<String>,
    #[command(flatten)]
    pub run: RunArgs,
    /// Continue the interrupted sweep in --output; no other flag is needed.
    #[arg(long)]
    pub resume: bool,
    /// Replace the finished sweep in --output and its runs; nothing else is ever replaced.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print JSON even on a terminal.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print a table even when the output is not a terminal.
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub table: bool,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The settings of `peft train`; data is read if it is given, and nothing is written.
    #[command(flatten)]
    pub run: RunArgs,
    /// First measure the speed of this machine for a second, to estimate times; kept in PEFT_CACHE.
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
    /// Character between several labels in one cell, with --task multi-label [default: a comma].
    #[arg(long, value_name = "CHAR", help_heading = "Data")]
    pub label_separator: Option<String>,
    /// Format of the data: csv, tsv, jsonl, parquet, conll or text [default: by the file name].
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub data_format: Option<Format>,
    /// Field separator of a csv or tsv file: a character, or tab, comma, semicolon or pipe
    /// [default: detected from the header].
    #[arg(long, value_name = "CHAR", help_heading = "Data")]
    pub delimiter: Option<Delimiter>,
    /// The csv or tsv file has no header line: its columns are called column1, column2 and so on.
    #[arg(long, help_heading = "Data")]
    pub no_header: bool,
}

#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Device to run on: auto, cpu, cuda, cuda:N, vulkan, metal or wgpu.
    #[arg(long, default_value = "auto", help_heading = "Compute")]
    pub device: DeviceChoice,
    /// Number of threads [default: all cores].
    #[arg(long, help_heading = "Compute")]
    pub threads: Option<usize>,
}

/// How the frozen matrices of the base are kept.
#[derive(Debug, Args)]
pub struct BaseArgs {
    /// Type of the frozen weights in memory: f32, f16 or bf16 [default: f32, or the blocks of a quantised file].
    #[arg(long, value_name = "TYPE", help_heading = "Compute")]
    pub base_dtype: Option<BaseDtype>,
    /// Quantise the frozen linear layers while loading: nf4, int8 or int4.
    #[arg(long, value_name = "TYPE", help_heading = "Compute")]
    pub quantize: Option<Quantize>,
}

/// In what type products are computed.
#[derive(Debug, Args)]
pub struct ProductArgs {
    /// Type of matrix products on the CPU: f32 or bf16.
    #[arg(
        id = "products",
        long = "compute",
        value_name = "TYPE",
        default_value = "f32",
        help_heading = "Compute"
    )]
    pub compute: ComputeType,
}

impl From<&BaseArgs> for BaseOptions {
    fn from(args: &BaseArgs) -> Self {
        Self {
            dtype: args.base_dtype,
            quantize: args.quantize,
        }
    }
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Hugging Face model folder, GGUF file, or organisation/name of a model on the hub (organisation/name:Q4_K_M for a GGUF file there).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// Labelled rows: csv, tsv, jsonl, parquet or conll.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Task [default: the one the adapter was trained for].
    #[arg(long, value_name = TASKS)]
    pub task: Option<Task>,
    /// Print JSON even on a terminal.
    #[arg(long)]
    pub json: bool,
    /// Print tables even when the output is not a terminal.
    #[arg(long, conflicts_with = "json")]
    pub table: bool,
    /// For language models, first print an object for every row: index, tokens (the number predicted) and loss
    /// (their mean).
    #[arg(long)]
    pub each_row: bool,
    /// Rows per batch.
    #[arg(long, default_value_t = 64)]
    pub batch_size: usize,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    #[command(flatten)]
    pub products: ProductArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Hugging Face model folder, GGUF file, or organisation/name of a model on the hub (organisation/name:Q4_K_M for a GGUF file there).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// Texts: csv, tsv, jsonl, parquet or conll; `-` reads JSON lines from standard input and answers each as it comes.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// File to write: one JSON object per row, or csv if the name ends in .csv [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of the predictions [default: by the name of --output, else jsonl].
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output_format: Option<OutputFormat>,
    /// Print only the K most probable labels, most probable first.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Column to copy beside each prediction, as `id`; `index` is always the row number, from 0.
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub id_column: Option<String>,
    /// Replace the predictions in --output; nothing else is ever replaced.
    #[arg(long)]
    pub overwrite: bool,
    /// Rows per batch.
    #[arg(long, default_value_t = 64)]
    pub batch_size: usize,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    #[command(flatten)]
    pub products: ProductArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Hugging Face model folder, GGUF file, or name on the hub: the base that the adapter was trained on.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Type of the merged model's floating-point tensors: f32, f16 or bf16 [default: the base model's].
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<BaseDtype>,
    /// Largest weight file, such as 5GB, 500MB or 2GiB; larger models are split into several files with an index.
    #[arg(long, value_name = "SIZE", default_value = "5GB")]
    pub max_shard_size: ByteSize,
    /// Replace what an earlier merge wrote to --output; nothing else is ever replaced.
    #[arg(long)]
    pub overwrite: bool,
    /// Merge even if rounding loses more than 5 % of a change.
    #[arg(long)]
    pub allow_loss: bool,
    /// Continue even if the adapter was trained on another base model.
    #[arg(long)]
    pub any_base: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Hugging Face model folder, GGUF file, or name on the hub: the base that the adapter was trained on.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Adapter folder, of PEFT, MLX-LM or AdapterHub.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Target format: lora (Hugging Face PEFT), mlx (MLX-LM), gguf (llama.cpp: adapter.gguf) or adapterhub.
    #[arg(long, value_name = "FORMAT", default_value = "lora")]
    pub to: AdapterFormat,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Replace what an earlier conversion wrote to --output; nothing else is ever replaced.
    #[arg(long)]
    pub overwrite: bool,
    /// Continue even if the adapter was trained on another base model.
    #[arg(long)]
    pub any_base: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Folders of runs, or folders with runs up to three levels below.
    #[arg(value_name = "DIR", required = true)]
    pub folders: Vec<PathBuf>,
    /// Sort by a column, best or newest first: a metric, loss, time, memory, trained or begun [default: path].
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Print JSON objects even on a terminal.
    #[arg(long)]
    pub json: bool,
    /// Print a table even when the output is not a terminal.
    #[arg(long, conflicts_with = "json")]
    pub table: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Hugging Face model folder or GGUF file: the base.
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
