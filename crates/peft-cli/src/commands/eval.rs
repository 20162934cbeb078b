use std::cell::{Cell, RefCell};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use peft_run::{
    Evaluation, HeadNeed, Prediction, blame, chat_template,
    data::{CausalOptions, Dataset, LoadOptions},
    evaluate_with, figure, left_out_of, numbered, predict_watched,
};
use serde_json::{Value, json};

use super::{
    class_report, columns, compute_as, evaluation_object, label_separator, opened::Opened,
    part_rows, predictions::mean, read_options, say, table::TextTable,
};
use crate::{
    args::EvalArgs,
    meter::{Meter, Span},
};

/// `peft eval`: tables on a terminal, one JSON object on standard output elsewhere.
pub fn eval(args: EvalArgs) -> Result<ExitCode> {
    let (selected, _computing) = compute_as(&args.compute, args.products.compute)?;
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
        ..LoadOptions::new(task, args.max_length.unwrap_or(adapted.task.max_length))
    };
    let part_rows = part_rows(args.batch_size)?;
    let mut parts = Dataset::parts(&args.data, &options, &adapted.tokenizer, part_rows)?;
    let (model, size) = (&adapted.model, args.batch_size);
    let roster = adapted.by_rows.as_ref().map(|by| &by.roster);
    let terminal = io::stdout().is_terminal();
    let mut meter = Meter::new("rows", args.each_row && terminal);
    let (span, mut first) = (Cell::new(Span::default()), 0);
    // Rows of the file that those of the part are from.
    let numbers = RefCell::new(Vec::new());
    // Each part as it is read, with how much of the file that makes.
    let read = std::iter::from_fn(|| {
        let part = parts.next()?;
        let mut next = span.get();
        next.advance(parts.share_read());
        span.set(next);
        numbers.replace(parts.take_numbers());
        Some(part)
    });
    let predict = |part: &Dataset| {
        let rows = part.len().max(1);
        let mut done = |done: usize| {
            meter.set(first + done, span.get().share(done as f64 / rows as f64));
        };
        let predicted = predict_watched(model, roster, part, objective, size, device, &mut done);
        first += part.len();
        predicted
    };
    let mut unwritten = None;
    let mut each = |first: usize, predictions: &[Prediction]| {
        if args.each_row && unwritten.is_none() {
            unwritten = print_rows(first, &numbers.borrow(), predictions).err();
        }
    };
    let evaluation = evaluate_with(read, objective, predict, &mut each);
    drop(meter);
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    let evaluation = evaluation.map_err(|error| blame(error, &args.model))?;
    if let Some(notice) = numbered(&parts.report(), &adapted.task.labels, &args.data) {
        tell!("peft: {notice}");
    }
    let report = parts.report();
    if let Some(notice) = left_out_of(&report, &args.data, options.max_length) {
        tell!("peft: {notice}");
    }
    let (truncated, causal) = (report.truncated_rows, report.causal);
    if args.table || (!args.json && !args.each_row && terminal) {
        let mut out = BufWriter::new(io::stdout().lock());
        tables(&mut out, &evaluation, &adapted.task.labels, truncated)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut object = evaluation_object(&evaluation);
    if let Some(confusion) = &evaluation.confusion {
        object.extend(class_report(confusion, &adapted.task.labels));
    }
    object.insert("truncated_rows".into(), truncated.into());
    if let Some(causal) = &causal {
        object.insert("left_out_rows".into(), causal.left_out().into());
    }
    say(&Value::Object(object).to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Labels of a column of the confusion matrix, at most.
const MATRIX: usize = 12;

/// An evaluation as people read it.
fn tables(
    out: &mut impl Write,
    evaluation: &Evaluation,
    labels: &[String],
    truncated: usize,
) -> io::Result<()> {
    let mut metrics = TextTable::new([("".into(), false), ("".into(), true)]);
    metrics.row(vec!["rows".into(), evaluation.rows.to_string()]);
    metrics.row(vec!["loss".into(), figure(evaluation.loss)]);
    for (name, value) in &evaluation.metrics {
        metrics.row(vec![name.clone(), figure(*value)]);
    }
    if truncated > 0 {
        metrics.row(vec!["rows cut".into(), truncated.to_string()]);
    }
    metrics.write(out)?;
    let Some(confusion) = &evaluation.confusion else {
        return Ok(());
    };
    let heads = ["class", "rows", "precision", "recall", "f1"];
    let mut classes = TextTable::new(
        heads
            .iter()
            .map(|name| ((*name).to_owned(), *name != "class")),
    );
    for (label, class) in labels.iter().zip(confusion.by_class()) {
        let mut cells = vec![label.clone(), class.support.to_string()];
        cells.extend([class.precision, class.recall, class.f1].map(figure));
        classes.row(cells);
    }
    writeln!(out)?;
    classes.write(out)?;
    if labels.len() <= MATRIX {
        let heads = labels.iter().map(|label| (label.clone(), true));
        let first = ("true \\ predicted".to_owned(), false);
        let mut matrix = TextTable::new(std::iter::once(first).chain(heads));
        for (label, counts) in labels.iter().zip(confusion.matrix()) {
            let counts = counts.iter().map(u64::to_string);
            matrix.row(std::iter::once(label.clone()).chain(counts).collect());
        }
        writeln!(out)?;
        matrix.write(out)?;
    }
    Ok(())
}

/// One object a row of a language model.
fn print_rows(first: usize, numbers: &[u64], predictions: &[Prediction]) -> io::Result<()> {
    for (row, prediction) in predictions.iter().enumerate() {
        if let Prediction::Tokens(costs) = prediction {
            let index = numbers
                .get(row)
                .map_or(first + row, |number| *number as usize - 1);
            let object = json!({ "index": index, "tokens": costs.len(), "loss": mean(costs) });
            say(&object.to_string())?;
        }
    }
    Ok(())
}
