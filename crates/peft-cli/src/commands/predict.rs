use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use peft_run::{
    HeadNeed, Prediction, blame,
    data::{Dataset, Format, LoadOptions},
    predict as predict_rows, predict_by_rows,
};
use serde_json::{Map, Value, json};

use super::{columns, compute_as, opened::Opened, part_rows, predicted::Place, read_options};
use crate::args::PredictArgs;

/// `peft predict`: one JSON object a row, in the order of the data.
pub fn predict(args: PredictArgs) -> Result<ExitCode> {
    let place = match &args.output {
        Some(path) => Some(Place::find(path, &args.data, args.overwrite)?),
        None => None,
    };
    let (selected, _computing) = compute_as(&args.compute, &args.base)?;
    let adapted = Opened::new(
        &args.model,
        &args.adapters,
        None,
        (&args.base).into(),
        &selected,
    )?;
    let mut read = read_options(&args.columns);
    if args.data.as_os_str() == "-" {
        read.format.get_or_insert(Format::Jsonl);
    }
    let task = adapted.task.task;
    let objective = adapted.task.objective();
    let objective = objective.as_ref();
    if objective.head() == HeadNeed::Language {
        bail!(
            "{}: this model continues texts and labels none; `peft generate` does that, and `peft eval` \
             measures it on texts",
            args.model.display()
        );
    }
    let options = LoadOptions {
        columns: columns(&args.columns),
        require_labels: false,
        read,
        choice: adapted.choice(),
        vocab_size: Some(adapted.vocab_size()),
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let part_rows = part_rows(args.batch_size)?;
    let parts = Dataset::parts(&args.data, &options, &adapted.tokenizer, part_rows)?;
    let device = &selected.device;
    // What went wrong with the data or the model, as opposed to the writing.
    let mut fault: Option<anyhow::Error> = None;
    let fill = |out: &mut dyn Write| -> io::Result<()> {
        let mut first = 0;
        for part in parts {
            let predicted = part.map_err(anyhow::Error::from).and_then(|part| {
                let size = args.batch_size;
                let model = &adapted.model;
                let predicted = match &adapted.by_rows {
                    None => predict_rows(model, &part, objective, size, device),
                    Some(by) => predict_by_rows(model, &by.roster, &part, objective, size, device),
                };
                Ok(predicted.map_err(|error| blame(error.after(first), &args.model))?)
            });
            match predicted {
                Ok(predictions) => {
                    write(out, first, &predictions, &adapted.task.labels)?;
                    first += predictions.len();
                }
                Err(error) => {
                    fault = Some(error);
                    return Err(io::Error::other("no prediction"));
                }
            }
        }
        out.flush()
    };
    let written = match &place {
        None => fill(&mut BufWriter::new(io::stdout().lock())).map_err(anyhow::Error::from),
        Some(place) => place.write(fill),
    };
    match fault {
        Some(error) => Err(error),
        None => written.map(|()| ExitCode::SUCCESS),
    }
}

fn write(
    out: &mut dyn Write,
    first: usize,
    predictions: &[Prediction],
    labels: &[String],
) -> io::Result<()> {
    let named = |probabilities: &[f32]| -> Map<String, Value> {
        let pairs = labels.iter().zip(probabilities);
        pairs.map(|(label, p)| (label.clone(), json!(p))).collect()
    };
    for (index, prediction) in (first..).zip(predictions) {
        let object = match prediction {
            Prediction::Tokens(costs) => {
                let sum: f64 = costs.iter().sum();
                let loss = (!costs.is_empty()).then(|| sum / costs.len() as f64);
                json!({ "index": index, "tokens": costs.len(), "loss": loss })
            }
            Prediction::Number(value) => json!({ "index": index, "value": value }),
            Prediction::Labels { probabilities, .. } => {
                let chosen: Vec<&String> = (labels.iter().zip(probabilities))
                    .filter(|(_, p)| **p >= 0.5)
                    .map(|(label, _)| label)
                    .collect();
                json!({ "index": index, "labels": chosen, "probabilities": named(probabilities) })
            }
            Prediction::Class { probabilities, .. } => {
                let label = prediction
                    .class()
                    .and_then(|class| labels.get(class as usize));
                json!({ "index": index, "label": label, "probabilities": named(probabilities) })
            }
        };
        writeln!(out, "{object}")?;
    }
    Ok(())
}
