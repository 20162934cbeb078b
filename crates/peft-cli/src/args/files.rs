//! The arguments of verbs that read and write files of models and adapters.

use std::path::PathBuf;

use clap::Args;
use peft_run::{AdapterFormat, BaseDtype, ByteSize};

use super::ComputeArgs;

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
