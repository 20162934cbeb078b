use std::process::ExitCode;

use anyhow::{Result, ensure};
use peft_run::{
    HeadNeed, Prediction, blame, chat_template,
    data::{CausalOptions, Dataset, LoadOptions},
    evaluate_each, evaluate_parts_by_rows, numbered,
};
use serde_json::{Value, json};

use super::{
    class_report, columns, compute_as, evaluation_object, label_separator, opened::Opened,
    part_rows, read_options,
};
use crate::args::EvalArgs;

/// `peft eval`: one JSON object on standard output.
pub fn eval(args: EvalArgs) -> Result<ExitCode> {
    let (selected, _computing) = compute_as(&args.compute, &args.base)?;
    let device = &selected.device;
    let adapted = Opened::new(
        &args.model,
        &args.adapters,
        args.task,
        (&args.base).into(),
        &selected,
    )?;
    let task = adapted.task.task;
    let objective = adapted.task.objective();
    let objective = objective.as_ref();
    ensure!(
        !args.each_row || (objective.head() == HeadNeed::Language && adapted.by_rows.is_none()),
        "--each-row: it is for language models with one adapter at most; `peft predict` tells every row's label"
    );
    let labels = adapted.task.label_map()?;
    let template = chat_template(&args.model, &adapted.tokenizer)?;
    let options = LoadOptions {
        columns: columns(&args.columns),
        labels: labels.as_ref(),
        label_separator: label_separator(&args.columns)?,
        read: read_options(&args.columns),
        choice: adapted.choice(),
        vocab_size: Some(adapted.vocab_size()),
        causal: CausalOptions {
            template: template.as_ref(),
            ..CausalOptions::default()
        },
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let part_rows = part_rows(args.batch_size)?;
    let mut parts = Dataset::parts(&args.data, &options, &adapted.tokenizer, part_rows)?;
    let (model, size) = (&adapted.model, args.batch_size);
    let evaluation = match &adapted.by_rows {
        None => {
            let mut each = |first: usize, predictions: &[Prediction]| {
                if args.each_row {
                    print_rows(first, predictions);
                }
            };
            evaluate_each(model, &mut parts, objective, size, device, &mut each)
        }
        Some(by) => evaluate_parts_by_rows(model, &by.roster, &mut parts, objective, size, device),
    };
    let evaluation = evaluation.map_err(|error| blame(error, &args.model))?;
    let mut object = evaluation_object(&evaluation);
    if let Some(confusion) = &evaluation.confusion {
        object.extend(class_report(confusion, &adapted.task.labels));
    }
    if let Some(notice) = numbered(&parts.report(), &adapted.task.labels, &args.data) {
        eprintln!("peft: {notice}");
    }
    let truncated = parts.report().truncated_rows;
    object.insert("truncated_rows".into(), truncated.into());
    println!("{}", Value::Object(object));
    Ok(ExitCode::SUCCESS)
}

/// One object a row of a language model.
fn print_rows(first: usize, predictions: &[Prediction]) {
    for (row, prediction) in predictions.iter().enumerate() {
        if let Prediction::Tokens(costs) = prediction {
            let loss = costs.iter().sum::<f64>() / costs.len().max(1) as f64;
            println!(
                "{}",
                json!({ "index": first + row, "tokens": costs.len(), "loss": loss })
            );
        }
    }
}
