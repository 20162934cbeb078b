use std::process::ExitCode;

use anyhow::Result;
use peft_train::{
    OpenOptions,
    data::{Dataset, LoadOptions},
    evaluate_parts, open,
};
use serde_json::Value;

use super::{columns, compute, evaluation_object, label_separator, part_rows, read_options};
use crate::args::EvalArgs;

/// `peft eval`: one JSON object on standard output.
pub fn eval(args: EvalArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let adapted = open(&OpenOptions {
        model: &args.model,
        adapter: args.adapter.as_deref(),
        any_base: args.any_base,
        task: args.task,
        device: &selected.device,
    })?;
    let task = adapted.task.task;
    let labels = adapted.task.label_map()?;
    let options = LoadOptions {
        columns: columns(&args.columns),
        labels: labels.as_ref(),
        label_separator: label_separator(&args.columns)?,
        read: read_options(&args.columns),
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let part_rows = part_rows(args.batch_size)?;
    let mut parts = Dataset::parts(&args.data, &options, &adapted.tokenizer, part_rows)?;
    let evaluation = evaluate_parts(
        &adapted.model,
        &mut parts,
        task,
        args.batch_size,
        &selected.device,
    )?;
    let mut object = evaluation_object(&evaluation);
    let truncated = parts.report().truncated_rows;
    object.insert("truncated_rows".into(), truncated.into());
    println!("{}", Value::Object(object));
    Ok(ExitCode::SUCCESS)
}
