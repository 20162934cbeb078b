//! A run of the `peft` binary: train, predict with both checkpoints, one result.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::definition::Protocol;
use super::metrics::Metrics;
use super::outcome::{Outcome, ReportMarks};
use super::runner::Tools;
use super::sample;
use super::settings::{Run, recorded_as};
use crate::{files, process};

/// The tensors of an adapter folder.
const WEIGHTS: &str = "adapter_model.safetensors";

/// Arguments of `peft train` for a run that writes to `output`.
pub fn train_arguments(run: &Run, tools: &Tools, output: &Path) -> Result<Vec<String>> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let data = tools.data.join(&run.study.data);
    let fit = match run.arm.drawn {
        Some(_) => tools.samples().join(run.fit()),
        None => data.join(run.fit()),
    };
    let mut arguments = vec!["train".to_owned(), "--task".into(), "classify".into()];
    for (flag, value) in [
        ("--model", tools.model(run)),
        ("--data", fit),
        ("--select-data", data.join(run.study.protocol.select())),
        ("--output", output.to_path_buf()),
    ] {
        arguments.extend([flag.to_owned(), path(&value)]);
    }
    let own = arguments.len();
    arguments.extend(run.arguments()?);
    // A configuration file is identified by its name, so that results mean the same on every machine; it lies with the runs.
    let mut after = arguments[own..].iter_mut();
    while let Some(argument) = after.next() {
        if argument == "--config"
            && let Some(file) = after.next()
        {
            *file = path(&tools.work.join(&*file));
        }
    }
    Ok(arguments)
}

/// Trains, unless that is done, and with `report` scores; the result is not written yet.
pub fn execute(run: &Run, tools: &Tools, folder: &Path, report: bool) -> Result<Outcome> {
    let mut outcome = match trained(run, folder) {
        Some(outcome) => outcome,
        None => train(run, tools, folder)?,
    };
    if report {
        let output = folder.join("adapter");
        let kept = score(run, tools, folder, &output, "kept")?;
        // Where selection keeps the last step, the two are one adapter.
        let newest = output.join("last");
        let last = match same_weights(&output, &newest)? {
            true => kept.clone(),
            false => score(run, tools, folder, &newest, "last")?,
        };
        outcome.report = Some(ReportMarks::new(last, kept));
    }
    Ok(outcome)
}

/// A run that was trained for the sweep, and whose adapter is still there to be scored.
fn trained(run: &Run, folder: &Path) -> Option<Outcome> {
    let found = Outcome::read(&folder.join("result.json")).ok()?;
    let whole = found.check_is_of(run).is_ok() && found.report.is_none();
    let adapters = ["adapter", "adapter/last"]
        .iter()
        .all(|part| folder.join(part).join(WEIGHTS).is_file());
    (whole && adapters).then_some(found)
}

fn train(run: &Run, tools: &Tools, folder: &Path) -> Result<Outcome> {
    let output = folder.join("adapter");
    // What a run that was cut off left would otherwise be taken for a run to continue.
    if output.exists() {
        fs::remove_dir_all(&output)
            .with_context(|| format!("cannot clear {}", output.display()))?;
    }
    if let Some(drawn) = &run.arm.drawn {
        let data = tools.data.join(&run.study.data);
        let all = data.join(Protocol::Full.fit());
        sample::draw(&drawn.sample, run.seed, &all, &tools.samples())?;
    }
    let usage = process::run_measured(
        Command::new(&tools.peft).args(train_arguments(run, tools, &output)?),
        &folder.join("train.log"),
    )?;
    let metrics = Metrics::read(&output.join("metrics.jsonl"))?;
    let weights = output.join(WEIGHTS);
    let adapter_bytes = fs::metadata(&weights).map(|data| data.len());
    let (kept_epoch, epochs) = (metrics.kept_epoch()?, metrics.epochs);
    Ok(Outcome {
        arm: run.arm.name.clone(),
        engine: run.arm.engine.name().to_owned(),
        seed: run.seed,
        learning_rate: run.learning_rate,
        head_learning_rate: run.head_learning_rate(),
        trainable_parameters: metrics.trainable_parameters,
        head_parameters: metrics.head_parameters,
        adapter_bytes: adapter_bytes.with_context(|| format!("no {}", weights.display()))?,
        adapter_tensor_bytes_without_head: tensor_bytes_without_head(&weights)?,
        steps: metrics.steps,
        step_time_s: metrics.step_time_s,
        train_time_s: usage.wall.as_secs_f64(),
        real_tokens_per_s: metrics.tokens_per_s,
        peak_rss_bytes: usage.peak_rss_bytes,
        peak_rss_anon_bytes: usage.peak_rss_anon_bytes,
        optimizer_bytes: metrics.optimizer_bytes,
        epochs,
        kept_epoch,
        report: None,
        contended: tools.contended,
        machine: None,
        versions: Map::from_iter([("peft".to_owned(), version(&tools.peft)?.into())]),
        arguments: recorded(run)?,
    })
}

fn same_weights(one: &Path, other: &Path) -> Result<bool> {
    let read = |folder: &Path| {
        let path = folder.join(WEIGHTS);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(read(one)? == read(other)?)
}

/// What `peft --version` prints.
pub fn version(peft: &Path) -> Result<String> {
    let output = Command::new(peft)
        .arg("--version")
        .output()
        .context("cannot run peft --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn recorded(run: &Run) -> Result<Map<String, Value>> {
    let protocol = run.study.protocol;
    let data = [
        ("fit", run.fit()),
        ("select", protocol.select().to_owned()),
        ("report", protocol.report().to_owned()),
    ];
    let data = data.map(|(name, value)| (name.to_owned(), value));
    let flags = run.flags()?.into_iter();
    let all = flags
        .map(|(name, value)| (recorded_as(&name), value))
        .chain(data);
    Ok(all
        .map(|(name, value)| (name, Value::String(value)))
        .collect())
}

/// Predicts the report split with one checkpoint and marks each row right or wrong.
fn score(run: &Run, tools: &Tools, folder: &Path, adapter: &Path, name: &str) -> Result<String> {
    let report = tools
        .data
        .join(&run.study.data)
        .join(run.study.protocol.report());
    let predictions = folder.join(format!("predictions-{name}.jsonl"));
    let mut command = Command::new(&tools.peft);
    command.arg("predict").arg("--model").arg(tools.model(run));
    command
        .arg("--adapter")
        .arg(adapter)
        .arg("--data")
        .arg(&report);
    command.arg("--output").arg(&predictions).arg("--overwrite");
    process::run_measured(&mut command, &folder.join(format!("predict-{name}.log")))?;
    mark(&labels(&report)?, &files::read(&predictions)?)
        .with_context(|| format!("in {}", predictions.display()))
}

fn labels(data: &Path) -> Result<Vec<String>> {
    let mut reader =
        csv::Reader::from_path(data).with_context(|| format!("cannot read {}", data.display()))?;
    let row = |row: Result<(String, String), csv::Error>| Ok(row.map(|(_, label)| label)?);
    reader.deserialize().map(row).collect()
}

/// Every row exactly once, in whatever order.
fn mark(labels: &[String], predictions: &str) -> Result<String> {
    let mut marks = vec![None; labels.len()];
    for line in predictions.lines() {
        let row: Value = serde_json::from_str(line).context("a line is not JSON")?;
        let (index, label) = row["index"]
            .as_u64()
            .zip(row["label"].as_str())
            .context("no index or label")?;
        let place = marks
            .get_mut(index as usize)
            .with_context(|| format!("there is no row {index}"))?;
        ensure!(place.is_none(), "row {index} is predicted twice");
        *place = Some(if labels[index as usize] == label {
            '1'
        } else {
            '0'
        });
    }
    let missing = |row: usize| move || format!("row {row} is not predicted");
    marks
        .into_iter()
        .enumerate()
        .map(|(row, mark)| mark.with_context(missing(row)))
        .collect()
}

/// Sums the tensors of a safetensors file that are not the classification head, by its header.
fn tensor_bytes_without_head(path: &Path) -> Result<u64> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        bail!("{} is too short for a safetensors file", path.display());
    };
    let header = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|end| rest.get(..end));
    let header = header.with_context(|| format!("{} is cut off", path.display()))?;
    let header: Map<String, Value> = serde_json::from_slice(header)
        .with_context(|| format!("{} has no safetensors header", path.display()))?;
    let head = |name: &str| {
        name.split('.')
            .any(|part| part == "classifier" || part == "score")
    };
    let mut sum = 0;
    for (name, tensor) in header
        .iter()
        .filter(|(name, _)| *name != "__metadata__" && !head(name))
    {
        let place = |which: usize| tensor["data_offsets"][which].as_u64();
        let range = place(0)
            .zip(place(1))
            .and_then(|(start, end)| end.checked_sub(start));
        sum += range.with_context(|| format!("{}: {name} has no place", path.display()))?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_rows_in_file_order() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let rows = "{\"index\":1,\"label\":\"b\"}\n{\"index\":0,\"label\":\"b\"}\n";
        assert_eq!(mark(&labels, rows).unwrap(), "01");
        let half = rows.lines().next().unwrap();
        assert_eq!(
            mark(&labels, half).unwrap_err().to_string(),
            "row 0 is not predicted"
        );
        let twice = format!("{half}\n{half}");
        assert!(
            mark(&labels, &twice)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }
}
