//! What determines the bits of a run, and whether two runs agree in it.

use std::path::{Path, PathBuf};

use peft_data::{Format, Task};
use peft_format::AdapterConfig;
use serde_json::{Map, Value, json};

use super::{RunState, fingerprint::Fingerprint};
use crate::{RunConfig, RunError, TaskFile};

/// Keys of `adapter_config.json` that say nothing about the adapter's values.
const NOT_VALUES: [&str; 1] = ["base_model_name_or_path"];

/// What the settings of a run came to.
#[derive(Debug)]
pub struct Resolved<'a> {
    pub task: &'a TaskFile,
    pub adapter: &'a AdapterConfig,
    pub learning_rate: f64,
    pub total_steps: u64,
    /// The kind of device.
    pub device: &'a str,
    /// Whether settings beside `tokenizer.json` overrule what it says.
    pub overruled: bool,
}

/// Rules by which files become rows and tokens that are not those of the first version, where they can
/// make a difference. A run that was begun without them may have seen other rows, and is not gone on with.
fn rules(config: &RunConfig, overruled: bool) -> Vec<(&'static str, &'static str)> {
    let files = [
        Some(&config.data),
        config.select_data.as_ref(),
        config.eval_data.as_ref(),
    ];
    let format = |path: &PathBuf| config.data_format.or_else(|| Format::from_path(path).ok());
    let formats: Vec<Format> = files.into_iter().flatten().filter_map(format).collect();
    let delimited = formats
        .iter()
        .any(|format| matches!(format, Format::Csv | Format::Tsv));
    let all = [
        (
            formats.contains(&Format::Tsv),
            ("quotes in tsv", "read as pandas writes them"),
        ),
        (
            delimited && config.task == Task::MultiLabel,
            ("lists in cells", "read as lists"),
        ),
        (overruled, ("settings beside tokenizer.json", "obeyed")),
    ];
    all.into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, rule)| rule)
        .collect()
}

/// The settings that determine the bits, by the names of their flags. Paths are not among them, for
/// files count by their content, nor are the number of threads, `--recompute` and `--save-steps`.
pub fn settings(config: &RunConfig, resolved: &Resolved) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    for (rule, value) in rules(config, resolved.overruled) {
        set(rule, value.into());
    }
    set("--task", json!(resolved.task.task));
    set("the labels", json!(resolved.task.labels));
    set("--max-length", json!(resolved.task.max_length));
    set("--text-column", json!(config.text_column));
    set("--pair-column", json!(config.pair_column));
    set("--label-column", json!(config.label_column));
    set("--label-separator", json!(config.label_separator));
    if let Some(loss) = config.loss {
        set("--loss", json!(loss));
    }
    set("--data-format", json!(config.data_format));
    if let Some(delimiter) = config.delimiter {
        set("--delimiter", json!(delimiter));
    }
    for (key, on) in [
        ("--no-header", config.no_header),
        ("--new-head", config.new_head),
    ] {
        if on {
            set(key, true.into());
        }
    }
    set("--method", json!(config.method.to_lowercase()));
    set("--adapter", json!(config.adapter.is_some()));
    set("--steps (or --epochs)", json!(resolved.total_steps));
    set("--select-epochs", json!(config.select_epochs));
    set("--batch-size", json!(config.batch_size));
    set("--grad-accumulation", json!(config.grad_accumulation));
    set("--learning-rate", json!(resolved.learning_rate));
    set("--head-learning-rate", json!(config.head_learning_rate));
    set("--schedule", json!(config.schedule));
    set("--warmup", json!(config.warmup));
    set("--weight-decay", json!(config.weight_decay));
    set("--clip", json!(config.clip));
    set("--model-dropout", json!(config.model_dropout));
    set("--base-dtype", json!(config.base_dtype));
    if let Some(quantize) = config.quantize {
        set("--quantize", json!(quantize));
    }
    set("--seed", json!(config.seed));
    set("--device", json!(resolved.device));
    for (key, value) in resolved.adapter.fields() {
        if !NOT_VALUES.contains(&key.as_str()) {
            set(&format!("`{key}` of the adapter"), value.clone());
        }
    }
    // What concerns training only is not in the adapter's files.
    for (key, value) in &config.method_config {
        if !resolved.adapter.fields().contains_key(key) {
            set(&format!("`{key}` of the method"), value.clone());
        }
    }
    map
}

/// Refuse to go on from a state whose settings or inputs differ from those of now.
pub fn compare(before: &RunState, now: &RunState, output: &Path) -> Result<(), RunError> {
    // Files name settings by their flags, messages as the settings do.
    let named = |what: &str| {
        let mut parts = what.split("--");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_flag = |c: char| c.is_ascii_lowercase() || c == '-';
            let end = part.find(|c| !is_flag(c)).unwrap_or(part.len());
            text += &format!("`{}`{}", part[..end].replace('-', "_"), &part[end..]);
        }
        text
    };
    let changed = |what: &str, before: Option<String>, now: Option<String>| {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "nothing".into());
        RunError::Changed {
            what: named(what),
            before: shown(before),
            now: shown(now),
            folder: output.to_owned(),
        }
    };
    let keys = before.settings.keys().chain(now.settings.keys());
    for key in keys {
        let (old, new) = (before.settings.get(key), now.settings.get(key));
        if old != new {
            let text = |value: Option<&Value>| {
                value.filter(|value| !value.is_null()).map(Value::to_string)
            };
            return Err(changed(key, text(old), text(new)));
        }
    }
    for key in before.inputs.keys().chain(now.inputs.keys()) {
        let (old, new) = (before.inputs.get(key), now.inputs.get(key));
        if old != new {
            let text = |value: Option<&Fingerprint>| value.map(Fingerprint::to_string);
            return Err(changed(key, text(old), text(new)));
        }
    }
    Ok(())
}
