use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use peft_train::{
    OpenOptions, Prediction,
    data::{Dataset, Format, LoadOptions},
    open, predict as predict_rows,
};
use serde_json::{Map, Value, json};

use super::{columns, compute, read_options};
use crate::args::PredictArgs;

/// `peft predict`: one JSON object a row, in the order of the data.
pub fn predict(args: PredictArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let adapted = open(&OpenOptions {
        model: &args.model,
        adapter: args.adapter.as_deref(),
        task: None,
        device: &selected.device,
    })?;
    let mut read = read_options(&args.columns);
    if args.data.as_os_str() == "-" {
        read.format.get_or_insert(Format::Jsonl);
    }
    let task = adapted.task.task;
    let options = LoadOptions {
        columns: columns(&args.columns),
        require_labels: false,
        read,
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let (data, _) = Dataset::load(&args.data, &options, &adapted.tokenizer)?;
    let device = &selected.device;
    let predictions = predict_rows(&adapted.model, &data, task, args.batch_size, device)?;
    match &args.output {
        None => write(
            &mut BufWriter::new(io::stdout().lock()),
            &predictions,
            &adapted.task.labels,
        )?,
        Some(path) => {
            let fill = |file: &mut dyn Write| write(file, &predictions, &adapted.task.labels);
            peft_train::core::format::atomic::write_atomic(path, fill)
                .with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut dyn Write, predictions: &[Prediction], labels: &[String]) -> io::Result<()> {
    for (index, prediction) in predictions.iter().enumerate() {
        let object = match prediction {
            Prediction::Number(value) => json!({ "index": index, "value": value }),
            Prediction::Class(probabilities) => {
                let label = prediction
                    .class()
                    .and_then(|class| labels.get(class as usize));
                let named: Map<String, Value> = (labels.iter().zip(probabilities))
                    .map(|(label, p)| (label.clone(), json!(p)))
                    .collect();
                json!({ "index": index, "label": label, "probabilities": named })
            }
        };
        writeln!(out, "{object}")?;
    }
    out.flush()
}
