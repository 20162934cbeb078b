//! Arguments that several verbs share.

use clap::Args;
use peft_run::{
    BaseDtype, BaseOptions, ComputeType, DeviceChoice, Quantize,
    data::{Delimiter, Format},
};

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
