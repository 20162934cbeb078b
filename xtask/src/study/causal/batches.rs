//! The batches of a run of ours, for the reference to train on the same ones.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use peft_data::{Batch, Dataset, Labels, LoadOptions, Task, TextTokenizer};
use serde_json::{Value, json};

use super::definition::Training;
use super::rows::Files;
use crate::files;

/// Writes `{"steps": [[row …] …], "report": [row …]}`, a row being its tokens and, of each, whether it is to be
/// predicted: the order that `peft train` draws from the seed, and the report rows in file order.
pub fn write(
    model: &Path,
    rows: &Files,
    training: &Training,
    seed: u64,
    path: &Path,
) -> Result<()> {
    let tokenizer = TextTokenizer::from_dir(model)?;
    let load = |path: &Path| -> Result<Dataset> {
        let options = LoadOptions::new(Task::CausalLm, training.max_length as usize);
        Ok(Dataset::load(path, &options, &tokenizer)?.0)
    };
    let (fit, report) = (load(&rows.fit)?, load(&rows.report)?);
    let mut steps = Vec::new();
    let mut epoch = 0;
    while steps.len() < training.steps as usize {
        let plan = fit.plan(training.batch_size as usize, seed, epoch)?;
        for rows in plan.iter_from(0) {
            steps.push(Value::Array(lines(&fit.batch(rows)?)?));
        }
        epoch += 1;
    }
    steps.truncate(training.steps as usize);
    let all: Vec<usize> = (0..report.len()).collect();
    let all = json!({ "steps": steps, "report": lines(&report.batch(&all)?)? });
    files::write_atomic(path, all.to_string().as_bytes())
}

fn lines(batch: &Batch) -> Result<Vec<Value>> {
    let Labels::Tokens { trained } = &batch.labels else {
        anyhow::bail!("the rows are not of a language model");
    };
    ensure!(
        trained.len() == batch.ids.len(),
        "there is not one flag for each token"
    );
    let row = |span: &[usize]| -> Result<Value> {
        let range = span[0]..span[1];
        let ids = batch.ids.get(range.clone()).context("a row ends early")?;
        let flags: Vec<u8> = trained[range].iter().map(|flag| u8::from(*flag)).collect();
        Ok(json!({ "ids": ids, "trained": flags }))
    };
    batch.row_starts.windows(2).map(row).collect()
}
