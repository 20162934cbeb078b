//! One file a verb.

mod chat;
mod completions;
mod config;
mod convert;
mod devices;
mod eval;
mod generate;
mod inspect;
mod man;
mod merge;
mod opened;
mod plan;
mod predict;
mod predicted;
mod predictions;
mod preview;
mod prompts;
mod quickstart;
mod report;
mod runs;
mod search;
mod sweep;
mod table;
mod train;
mod verify;

use std::io::{self, Write};

use anyhow::{Context, Result};
use peft_run::{
    Computing, Confusion, Evaluation, SelectedDevice,
    core::kernels::Compute,
    data::{ColumnMap, ReadOptions},
};
use serde_json::{Map, Value, json};

use crate::args::{ColumnArgs, ComputeArgs};

pub use chat::chat;
pub use completions::completions;
pub use config::config;
pub use convert::convert;
pub use devices::devices;
pub use eval::eval;
pub use generate::generate;
pub use inspect::inspect;
pub use man::man;
pub use merge::merge;
pub use plan::{megabytes, plan};
pub use predict::predict;
pub use predictions::OutputFormat;
pub use preview::preview;
pub use quickstart::quickstart;
pub use report::report;
pub use runs::runs;
pub use search::search;
pub use sweep::sweep;
pub use train::train;
pub use verify::verify;

/// Set the number of threads; must come before any computation.
fn set_threads(threads: Option<usize>) -> Result<()> {
    // More would take the system's memory for their stacks, and compute no faster.
    const MOST: usize = 1024;
    if let Some(threads) = threads {
        anyhow::ensure!(
            (1..=MOST).contains(&threads),
            "--threads {threads}: give a number from 1 to {MOST}; the number of cores is the default"
        );
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("--threads: the threads could not be started")?;
    }
    Ok(())
}

/// A line on standard output; whoever reads it may have stopped.
fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Text on standard output, as it is.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Start the threads, choose the device and tell which it is.
fn compute(args: &ComputeArgs) -> Result<SelectedDevice> {
    compute_in(args, Compute::F32)
}

/// The same where there is a choice of the type of products: it holds while what comes with the device lives.
fn compute_as(
    args: &ComputeArgs,
    products: impl Into<Compute>,
) -> Result<(SelectedDevice, Computing)> {
    let products = products.into();
    let selected = compute_in(args, products)?;
    Ok((selected, Computing::begin(products)))
}

fn compute_in(args: &ComputeArgs, products: Compute) -> Result<SelectedDevice> {
    set_threads(args.threads)?;
    let selected = args.device.select()?.computing(products)?;
    tell!("device: {}", selected.reason);
    Ok(selected)
}

fn read_options(args: &ColumnArgs) -> ReadOptions {
    ReadOptions {
        format: args.data_format,
        header: !args.no_header,
        delimiter: args.delimiter,
    }
}

fn columns(args: &ColumnArgs) -> ColumnMap {
    ColumnMap {
        text: args.text_column.clone(),
        text_pair: args.pair_column.clone(),
        label: args.label_column.clone(),
    }
}

/// What stands between several labels in one text.
fn label_separator(args: &ColumnArgs) -> Result<char> {
    let text = args.label_separator.as_deref().unwrap_or(",");
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(separator), None) => Ok(separator),
        _ => anyhow::bail!("--label-separator: `{text}` is not one character"),
    }
}

/// Rows of a file that are held at a time, so that memory does not grow with the file.
fn part_rows(batch_size: usize) -> Result<usize> {
    const PART_ROWS: usize = 8192;
    anyhow::ensure!(batch_size > 0, "--batch-size must be at least 1");
    Ok(PART_ROWS.max(batch_size))
}

/// An evaluation as it is printed.
fn evaluation_object(evaluation: &Evaluation) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("rows".into(), evaluation.rows.into());
    object.insert("loss".into(), evaluation.loss.into());
    for (name, value) in &evaluation.metrics {
        object.insert(name.clone(), (*value).into());
    }
    object
}

/// Of classes: each one's figures, and the rows of the true ones by the predicted ones.
fn class_report(confusion: &Confusion, labels: &[String]) -> Map<String, Value> {
    let named = labels.iter().zip(confusion.by_class());
    let classes = named.map(|(label, figures)| (label.clone(), json!(figures)));
    Map::from_iter([
        ("classes".to_owned(), Value::Object(classes.collect())),
        ("confusion_matrix".to_owned(), json!(confusion.matrix())),
    ])
}
