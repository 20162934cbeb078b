use std::{
    collections::BTreeSet,
    io::{self, BufWriter, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use peft_run::{Evaluation, RunFolder, RunStatus, bytes, duration, figure, less_is_better};
use serde_json::{Map, Value, json};

use super::{evaluation_object, table::TextTable};
use crate::args::RunsArgs;

/// Settings that say where a run is, not what it is.
const PLACES: [&str; 3] = ["output", "threads", "device"];
/// Columns that `--sort` knows beside metrics.
const SORTED: [&str; 5] = ["loss", "time", "memory", "trained", "begun"];

/// `peft runs`: what is in folders of runs.
pub fn runs(args: &RunsArgs) -> Result<ExitCode> {
    let folders = RunFolder::find(&args.folders)?;
    let runs = folders.iter().map(|path| RunFolder::read(path));
    let mut runs = runs.collect::<Result<Vec<_>, _>>()?;
    if let Some(column) = &args.sort {
        sort(&mut runs, column)?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let as_table = args.table || (!args.json && io::stdout().is_terminal());
    if as_table {
        table(&mut out, &runs)?;
    } else {
        for run in &runs {
            writeln!(out, "{}", object(run, &different(&runs)))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Figures of a run to sort by, more being better or newer.
fn sort(runs: &mut [RunFolder], column: &str) -> Result<()> {
    let metrics: BTreeSet<&String> = (runs.iter())
        .filter_map(|run| Some(run.kept()?.1.metrics.keys()))
        .flatten()
        .collect();
    ensure!(
        SORTED.contains(&column) || metrics.iter().any(|name| *name == column),
        "--sort: there is no column `{column}`; give one of {}",
        (metrics.iter().map(|name| name.as_str()))
            .chain(SORTED)
            .collect::<Vec<_>>()
            .join(", ")
    );
    let less_is_better = less_is_better(column) || ["time", "memory", "trained"].contains(&column);
    let of = |run: &RunFolder| {
        let value = match column {
            "time" => Some(run.train_time_s()),
            "memory" => run.peak_memory().map(|bytes| bytes as f64),
            "trained" => Some((run.trained().0 + run.trained().1) as f64),
            "begun" => run.begun().map(|time| time as f64),
            "loss" => run.kept().map(|(_, selection, _)| selection.loss),
            metric => run
                .kept()
                .and_then(|(_, selection, _)| selection.metrics.get(metric).copied()),
        };
        let value = value.filter(|value| !value.is_nan());
        match less_is_better {
            true => value.unwrap_or(f64::INFINITY),
            false => -value.unwrap_or(f64::NEG_INFINITY),
        }
    };
    runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
    Ok(())
}

/// Settings in which runs differ, but for where they are.
fn different(runs: &[RunFolder]) -> Vec<String> {
    let all = runs.iter().map(settings).collect::<Vec<_>>();
    let keys = all
        .iter()
        .flat_map(Map::keys)
        .cloned()
        .collect::<BTreeSet<_>>();
    let differs = |key: &String| all.iter().any(|one| one.get(key) != all[0].get(key));
    let place = |key: &String| PLACES.contains(&key.as_str());
    keys.into_iter()
        .filter(|key| !place(key) && differs(key))
        .collect()
}

/// The settings of a run, those of its method among them.
fn settings(run: &RunFolder) -> Map<String, Value> {
    let mut all = run.settings.clone();
    if let Some(Value::Object(own)) = all.shift_remove("method_config") {
        all.extend(own);
    }
    all
}

fn table(out: &mut impl Write, runs: &[RunFolder]) -> io::Result<()> {
    let metrics: BTreeSet<String> = runs.iter().map(RunFolder::main_metric).collect();
    // What has a column of its own.
    let own = ["method", "model"];
    let settings_shown: Vec<String> = different(runs)
        .into_iter()
        .filter(|key| !own.contains(&key.as_str()))
        .collect();
    let reports = runs
        .iter()
        .any(|run| run.kept().is_some_and(|(_, _, report)| report.is_some()));
    let mut heads = vec![("run".to_owned(), false), ("status".into(), false)];
    heads.extend(own.map(|name| (name.to_owned(), false)));
    heads.extend(settings_shown.iter().map(|name| (name.clone(), true)));
    for metric in &metrics {
        heads.push((metric.clone(), true));
        if reports {
            heads.push((format!("{metric} (report)"), true));
        }
    }
    for name in ["loss", "trained", "time", "memory"] {
        heads.push((name.to_owned(), true));
    }
    let mut table = TextTable::new(heads);
    for run in runs {
        let kept = run.kept();
        let values = settings(run);
        let status = match &run.status {
            RunStatus::Finished => run.status.word().to_owned(),
            _ => format!("{} {}/{}", run.status.word(), run.step(), run.total_steps()),
        };
        let mut cells = vec![
            run.path.display().to_string(),
            status,
            run.method(),
            run.model(),
        ];
        cells.extend(settings_shown.iter().map(|key| text(values.get(key))));
        let told = |evaluation: Option<&Evaluation>, metric: &String| {
            let value = evaluation.and_then(|one| one.metrics.get(metric));
            value.map_or("–".to_owned(), |value| figure(*value))
        };
        for metric in &metrics {
            cells.push(told(kept.map(|(_, selection, _)| selection), metric));
            if reports {
                cells.push(told(kept.and_then(|(_, _, report)| report), metric));
            }
        }
        cells.push(kept.map_or("–".to_owned(), |(_, selection, _)| figure(selection.loss)));
        let (adapters, head) = run.trained();
        cells.push((adapters + head).to_string());
        cells.push(duration(run.train_time_s()));
        cells.push(run.peak_memory().map_or("–".to_owned(), bytes));
        table.row(cells);
    }
    table.write(out)
}

/// A setting in a cell.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".into(),
        Some(Value::String(text)) => text.rsplit('/').next().unwrap_or(text).to_owned(),
        Some(value) => value.to_string(),
    }
}

fn object(run: &RunFolder, different: &[String]) -> Value {
    let values = settings(run);
    let pairs = different
        .iter()
        .filter_map(|key| Some((key.clone(), values.get(key)?.clone())));
    let (adapters, head) = run.trained();
    let kept = run.kept();
    let reason = match &run.status {
        RunStatus::BrokeDown(reason) => Some(reason),
        _ => None,
    };
    json!({
        "run": run.path,
        "status": run.status.word(),
        "reason": reason,
        "method": run.method(),
        "model": run.setting("model"),
        "task": run.setting("task"),
        "data": run.setting("data"),
        "different": pairs.collect::<Map<_, _>>(),
        "step": run.step(),
        "steps": run.total_steps(),
        "kept_step": kept.map(|(step, ..)| step),
        "selection": kept.map(|(_, selection, _)| evaluation_object(selection)),
        "report": kept.and_then(|(_, _, report)| report).map(evaluation_object),
        "trainable_parameters": adapters,
        "head_parameters": head,
        "train_time_s": run.train_time_s(),
        "peak_memory": run.peak_memory(),
        "begun": run.begun(),
    })
}
