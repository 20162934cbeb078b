use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{ModuleGroup, Plan, calibrate, plan as make};

use super::set_threads;
use crate::{
    adapter,
    args::PlanArgs,
    model,
    progress::{sizes, times},
};

/// `peft plan`: what a run would adapt and cost, on standard output; 1 if a target matches nothing.
pub fn plan(args: &PlanArgs, offline: bool) -> Result<ExitCode> {
    let mut config = args.run.resolve_plan()?;
    config.model = model::resolve(&config.model, offline)?;
    if let Some(folder) = &mut config.adapter {
        *folder = adapter::resolve(folder)?;
    }
    set_threads(config.threads)?;
    if args.calibrate {
        let rates = calibrate(config.device, config.compute)?;
        tell!(
            "measured: {:.1} GFLOP/s in products, {:.1} GB/s in passes over values",
            rates.operations_per_s / 1e9,
            rates.bytes_per_s / 1e9
        );
    }
    let plan = make(&config)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&plan)?)?;
    } else {
        text(&mut out, &plan, config.batch_size)?;
    }
    out.flush()?;
    Ok(match plan.unmatched.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

fn text(out: &mut impl Write, plan: &Plan, rows: usize) -> io::Result<()> {
    writeln!(out, "{} on {} modules", plan.method, plan.targets)?;
    groups(out, "adapted", &plan.modules)?;
    groups(out, "left alone", &plan.left_alone)?;
    for unmatched in &plan.unmatched {
        let nearest = match unmatched.nearest.as_slice() {
            [] => String::new(),
            names => format!("; did you mean {}?", names.join(" or ")),
        };
        writeln!(out, "NO MATCH      {}{nearest}", unmatched.target)?;
    }
    let (adapter, head) = (plan.trainable_parameters, plan.head_parameters);
    let total = plan.total_parameters as f64;
    let share = |part: usize| 100.0 * part as f64 / total;
    writeln!(
        out,
        "trained       {} of {}: {:.3} % (adapters {adapter}, {:.3} %; head {head}, {:.3} %)",
        adapter + head,
        plan.total_parameters,
        share(adapter + head),
        share(adapter),
        share(head)
    )?;
    if !plan.created.is_empty() {
        writeln!(
            out,
            "new           {}, which the checkpoint does not have",
            plan.created.join(", ")
        )?;
    }
    match &plan.data {
        Some(data) => {
            writeln!(
                out,
                "rows          {} to train on, {} for selection, {} cut; {} steps",
                data.rows, data.selection_rows, data.truncated_rows, data.steps
            )?;
            if let Some(left_out) = &data.left_out {
                writeln!(out, "left out      {}", left_out.because)?;
            }
        }
        None => writeln!(
            out,
            "rows          not read (no --data); {} outputs assumed, {rows} rows as long as allowed",
            plan.outputs
        )?,
    }
    if plan.warm_up_steps > 0 {
        writeln!(
            out,
            "warm-up       {} steps before these, taken to be as long",
            plan.warm_up_steps
        )?;
    }
    writeln!(out, "{}", sizes(plan))?;
    let memory = &plan.memory;
    let parts = [
        ("process and rows", memory.process),
        ("weights", memory.weights),
        ("adapters and optimiser", memory.trained),
        ("activations of a step", memory.activations),
    ];
    for (name, bytes) in parts {
        writeln!(out, "              {name}: {}", megabytes(bytes as u64))?;
    }
    writeln!(
        out,
        "              loading {}, a step {}, an evaluation {}",
        megabytes(memory.load as u64),
        megabytes(memory.step as u64),
        megabytes(memory.evaluation as u64)
    )?;
    writeln!(out, "{}", times(plan))
}

fn groups(out: &mut impl Write, what: &str, groups: &[ModuleGroup]) -> io::Result<()> {
    for group in groups {
        let [rows, columns] = group.shape;
        write!(
            out,
            "{what:13} {:3} × {} ({rows}×{columns})",
            group.count, group.name
        )?;
        if group.trained > 0 {
            write!(out, ", {} trained", group.trained)?;
        }
        if let Some(evaluation) = &group.evaluation {
            write!(out, ": {evaluation}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Bytes as people read them.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} MB", bytes as f64 / 1e6),
    }
}
