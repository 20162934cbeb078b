use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{VerifyReport, verify_watched};

use super::compute;
use crate::{args::VerifyArgs, flags::in_flags, meter::Meter};

/// `peft verify`: what an adapter does to its base, on standard output; 1 if something is wrong.
pub fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let mut meter = Meter::new("weights", false);
    let mut done = |done: u64, all: u64| {
        meter.set(done as usize, Some(done as f64 / all.max(1) as f64));
    };
    let mut report = verify_watched(&args.model, &args.adapter, &selected.device, &mut done)?;
    drop(meter);
    for note in &mut report.notes {
        *note = in_flags(note);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        text(&mut out, &report)?;
    }
    out.flush()?;
    Ok(match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

fn text(out: &mut impl Write, report: &VerifyReport) -> io::Result<()> {
    let base = match report.base.same {
        Some(true) => "the one that the adapter was trained on".to_owned(),
        Some(false) => format!(
            "NOT the one it was trained on, `{}`",
            report.base.trained_on()
        ),
        None => "not recorded in the adapter".to_owned(),
    };
    writeln!(out, "adapter   {} ({})", report.adapter, report.method)?;
    writeln!(out, "base      {}: {base}", report.model)?;
    let width = report
        .modules
        .iter()
        .map(|m| m.module.len())
        .max()
        .unwrap_or(0);
    if width > 0 {
        let heads = ["shape", "type", "change", "relative", "lost in merging"];
        let [shape, dtype, change, relative, lost] = heads;
        writeln!(
            out,
            "{:width$}  {shape:>11}  {dtype:>4}  {change:>9}  {relative:>9}  {lost:>15}",
            "module"
        )?;
    }
    for module in &report.modules {
        let [rows, columns] = module.shape;
        writeln!(
            out,
            "{:width$}  {:>11}  {:>4}  {:>9.3e}  {:>7.3} %  {:>13.3} %",
            module.module,
            format!("{rows}×{columns}"),
            module.dtype,
            module.change,
            100.0 * module.relative_change,
            100.0 * module.lost_share,
        )?;
    }
    if !report.saved.is_empty() {
        writeln!(out, "in full   {}", report.saved.join(", "))?;
    }
    let merging = match report.mergeable {
        true => format!(
            "merging would lose {:.3} % of that",
            100.0 * report.lost_share
        ),
        false => "it cannot be merged, for it does more than change weights".to_owned(),
    };
    writeln!(
        out,
        "together  {} weights change by {:.3} % of their norm; {merging}",
        report.modules.len(),
        100.0 * report.relative_change,
    )?;
    for note in &report.notes {
        writeln!(out, "note      {note}")?;
    }
    for problem in &report.problems {
        writeln!(out, "WRONG     {}: {}", problem.place, problem.problem)?;
    }
    if report.is_good() {
        writeln!(out, "good      nothing is wrong")?;
    }
    Ok(())
}
