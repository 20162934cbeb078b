use std::path::PathBuf;

use clap::Args;

/// The adapters of a verb that predicts.
#[derive(Debug, Args)]
pub struct AdapterArgs {
    /// Adapter folder. With a name, NAME=DIR, it may be given several times: see --adapter-name and
    /// --adapter-column.
    #[arg(long, value_name = "DIR")]
    pub adapter: Vec<PathBuf>,
    /// Name of the adapter to use; __base__ is the model without one.
    #[arg(long, value_name = "NAME", conflicts_with = "adapter_column")]
    pub adapter_name: Option<String>,
    /// Column of the data that names the adapter for each row.
    #[arg(long, value_name = "COLUMN")]
    pub adapter_column: Option<String>,
    /// Continue even if an adapter was trained on another base model.
    #[arg(long)]
    pub any_base: bool,
}
