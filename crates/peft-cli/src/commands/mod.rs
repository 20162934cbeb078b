//! One file a verb.

mod completions;
mod config;
mod devices;
mod eval;
mod inspect;
mod man;
mod merge;
mod predict;
mod preview;
mod quickstart;
mod train;

use anyhow::{Context, Result};
use peft_train::{
    Evaluation, SelectedDevice,
    data::{ColumnMap, ReadOptions},
};
use serde_json::{Map, Value};

use crate::args::{ColumnArgs, ComputeArgs};

pub use completions::completions;
pub use config::config;
pub use devices::devices;
pub use eval::eval;
pub use inspect::inspect;
pub use man::man;
pub use merge::merge;
pub use predict::predict;
pub use preview::preview;
pub use quickstart::quickstart;
pub use train::train;

/// Set the number of threads; must come before any computation.
fn set_threads(threads: Option<usize>) -> Result<()> {
    if let Some(threads) = threads {
        anyhow::ensure!(
            threads > 0,
            "--threads: 0 threads compute nothing; give 1 or more"
        );
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("--threads: the threads could not be started")?;
    }
    Ok(())
}

/// Start the threads, choose the device and tell which it is.
fn compute(args: &ComputeArgs) -> Result<SelectedDevice> {
    set_threads(args.threads)?;
    let selected = args.device.select()?;
    eprintln!("device: {}", selected.reason);
    Ok(selected)
}

fn read_options(args: &ColumnArgs) -> ReadOptions {
    ReadOptions {
        format: args.data_format,
        ..ReadOptions::default()
    }
}

fn columns(args: &ColumnArgs) -> ColumnMap {
    ColumnMap {
        text: args.text_column.clone(),
        text_pair: args.pair_column.clone(),
        label: args.label_column.clone(),
    }
}

/// An evaluation as it is printed.
fn evaluation_object(evaluation: &Evaluation) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("rows".into(), evaluation.rows.into());
    object.insert("loss".into(), evaluation.loss.into());
    for (name, value) in &evaluation.metrics {
        object.insert((*name).into(), (*value).into());
    }
    object
}
