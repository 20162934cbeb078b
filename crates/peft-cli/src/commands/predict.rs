use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use peft_run::{
    HeadNeed, blame,
    data::{Dataset, Format, LoadOptions},
    predict_watched,
};

use super::{
    columns, compute_as,
    opened::Opened,
    part_rows,
    predicted::Place,
    predictions::{OutputFormat, Predictions},
    read_options,
};
use crate::{
    args::PredictArgs,
    meter::{Meter, Span},
};

/// `peft predict`: one JSON object or line of csv a row, in the order of the data.
pub fn predict(args: PredictArgs) -> Result<ExitCode> {
    ensure!(
        args.top_k != Some(0),
        "--top-k: 0 labels tell nothing; give 1 or more"
    );
    let place = match &args.output {
        Some(path) => Some(Place::find(path, &args.data, args.overwrite)?),
        None => None,
    };
    let (selected, _computing) = compute_as(&args.compute, args.products.compute)?;
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
        keep: args.id_column.as_deref(),
        vocab_size: Some(adapted.vocab_size()),
        ..LoadOptions::new(task, adapted.task.max_length)
    };
    let part_rows = part_rows(args.batch_size)?;
    let mut parts = Dataset::parts(&args.data, &options, &adapted.tokenizer, part_rows)?;
    let device = &selected.device;
    let roster = adapted.by_rows.as_ref().map(|by| &by.roster);
    let mut predictions = Predictions {
        format: OutputFormat::of(args.output_format, args.output.as_deref()),
        labels: &adapted.task.labels,
        top: args.top_k,
        in_chunks: objective.main_metric() == "f1",
        rows: 0,
    };
    let mut meter = Meter::new("rows", place.is_none() && io::stdout().is_terminal());
    // What went wrong with the data or the model, as opposed to the writing.
    let mut fault: Option<anyhow::Error> = None;
    let mut fill = |out: &mut dyn Write| -> io::Result<()> {
        let mut span = Span::default();
        while let Some(part) = parts.next() {
            span.advance(parts.share_read());
            let kept = parts.take_kept();
            let first = predictions.rows;
            let predicted = part.map_err(anyhow::Error::from).and_then(|part| {
                let (model, size, rows) = (&adapted.model, args.batch_size, part.len().max(1));
                let mut done = |done: usize| {
                    meter.set(first + done, span.share(done as f64 / rows as f64));
                };
                let predicted =
                    predict_watched(model, roster, &part, objective, size, device, &mut done);
                Ok(predicted.map_err(|error| blame(error.after(first), &args.model))?)
            });
            match predicted {
                Ok(predicted) => {
                    predictions.write(out, &kept, &predicted)?;
                    // Whoever waits for these rows has sent no more.
                    out.flush()?;
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
