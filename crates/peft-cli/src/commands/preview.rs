use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{
    chat_template,
    data::{CausalOptions, CausalReport, LoadOptions, Preview, Task},
    tokenizer,
};

use super::{columns, label_separator, read_options};
use crate::args::PreviewArgs;

/// Columns of a bar of the histogram.
const BAR: u64 = 40;

/// `peft data preview`: what training would see of a file, on standard output.
pub fn preview(args: &PreviewArgs) -> Result<ExitCode> {
    anyhow::ensure!(
        args.max_length > 0,
        "--max-length: rows of 0 tokens cannot be shown; give 3 or more"
    );
    let tokenizer = tokenizer(&args.model)?;
    let template = chat_template(&args.model, &tokenizer)?;
    let mut options = LoadOptions {
        columns: columns(&args.columns),
        read: read_options(&args.columns),
        limit: (args.limit > 0).then_some(args.limit),
        label_separator: label_separator(&args.columns)?,
        causal: CausalOptions {
            template: template.as_ref(),
            ..CausalOptions::default()
        },
        ..LoadOptions::new(args.task, args.max_length)
    };
    let preview = match Preview::of(&args.data, &options, &tokenizer, args.rows) {
        // Rows to predict have no labels, and are worth a look, too.
        Err(error) if error.is_without_labels() && args.columns.label_column.is_none() => {
            options.require_labels = false;
            Preview::of(&args.data, &options, &tokenizer, args.rows)?
        }
        read => read?,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&preview)?)?;
    } else {
        text(&mut out, &preview, args.task)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn text(out: &mut impl Write, preview: &Preview, task: Task) -> io::Result<()> {
    writeln!(out, "file       {}", preview.file)?;
    match preview.complete {
        true => writeln!(out, "rows       {}", preview.rows)?,
        false => writeln!(
            out,
            "rows       the first {}; there are more, and --limit 0 reads them all",
            preview.rows
        )?,
    }
    writeln!(out, "columns    {}", preview.columns.join(", "))?;
    let roles = &preview.roles;
    writeln!(out, "text       {}", roles.text)?;
    if let Some(pair) = &roles.text_pair {
        writeln!(out, "pair       {pair}")?;
    }
    match (&roles.label, roles.flags.as_slice()) {
        (Some(label), _) => writeln!(out, "label      {label}")?,
        (None, []) => writeln!(out, "label      none found")?,
        (None, flags) => writeln!(out, "labels     {}", flags.join(", "))?,
    }
    // Labels of words are counted by words.
    let all = match task {
        Task::TokenClassify => preview.label_counts.iter().map(|(_, count)| count).sum(),
        _ => preview.rows,
    };
    for (label, count) in &preview.label_counts {
        let share = 100.0 * *count as f64 / all.max(1) as f64;
        writeln!(out, "           {label}: {count} ({share:.1} %)")?;
    }
    if let Some(t) = &preview.targets {
        writeln!(
            out,
            "           from {} to {}, mean {:.4}",
            t.min, t.max, t.mean
        )?;
    }
    if preview.empty_texts > 0 {
        writeln!(out, "empty      {} rows", preview.empty_texts)?;
    }
    let l = &preview.lengths;
    writeln!(
        out,
        "tokens     {} to {}, mean {:.1}; half up to {}, 90 % up to {}, 99 % up to {}",
        l.min, l.max, l.mean, l.p50, l.p90, l.p99
    )?;
    let most = l.histogram.iter().map(|bin| bin.rows).max().unwrap_or(1);
    for bin in &l.histogram {
        let bar = "█".repeat((bin.rows * BAR).div_ceil(most.max(1)) as usize);
        writeln!(out, "{:>5}–{:<5} {:>8} {bar}", bin.from, bin.to, bin.rows)?;
    }
    writeln!(
        out,
        "cut        {} rows ({:.1} %), {} tokens, at {} tokens",
        preview.truncated_rows,
        100.0 * preview.truncated_share,
        preview.truncated_tokens,
        preview.max_length
    )?;
    if let Some(causes) = preview
        .causal
        .as_ref()
        .and_then(CausalReport::left_out_because)
    {
        writeln!(out, "left out   {causes}")?;
    }
    for row in &preview.first {
        writeln!(out, "row {}: {}", row.row, row.text)?;
        if let Some(pair) = &row.text_pair {
            writeln!(out, "  pair: {pair}")?;
        }
        let more = if row.length > row.tokens.len() {
            " …"
        } else {
            ""
        };
        writeln!(
            out,
            "  {} tokens: {}{more}",
            row.length,
            row.tokens.join(" ")
        )?;
    }
    Ok(())
}
