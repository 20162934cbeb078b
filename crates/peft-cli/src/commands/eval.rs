use std::process::ExitCode;

use anyhow::Result;
use peft_train::{
    OpenOptions,
    data::{Dataset, LoadOptions},
    evaluate, open,
};
use serde_json::Value;

use super::{columns, compute, evaluation_object, read_options};
use crate::args::EvalArgs;

/// `peft eval`: one JSON object on standard output.
pub fn eval(args: EvalArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let adapted = open(&OpenOptions {
        model: &args.model,
        adapter: args.adapter.as_deref(),
        task: args.task.map(Into::into),
        device: &selected.device,
    })?;
    let task = adapted.task.task;
    let labels = adapted.task.label_map()?;
    let options = LoadOptions {
        columns: columns(&args.columns),
        labels: labels.as_ref(),
        read: read_options(&args.columns),
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let (data, loaded) = Dataset::load(&args.data, &options, &adapted.tokenizer)?;
    let evaluation = evaluate(
        &adapted.model,
        &data,
        task,
        args.batch_size,
        &selected.device,
    )?;
    let mut object = evaluation_object(&evaluation);
    object.insert("truncated_rows".into(), loaded.truncated_rows.into());
    println!("{}", Value::Object(object));
    Ok(ExitCode::SUCCESS)
}
