//! The arguments of `peft eval` and `peft predict`.

use std::path::PathBuf;

use clap::Args;
use peft_run::data::Task;

use super::{AdapterArgs, BaseArgs, ColumnArgs, ComputeArgs, ProductArgs, TASKS};
use crate::commands::OutputFormat;

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
    /// Longest sequence in tokens; longer ones are cut [default: the one the adapter was trained with].
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// For language models, first print an object for every row: index (its row in the file, from 0), tokens (the
    /// number predicted) and loss (their mean).
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
