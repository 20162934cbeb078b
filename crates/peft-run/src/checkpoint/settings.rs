//! What determines the bits of a run, and whether two runs agree in it.

use std::path::{Path, PathBuf};

use peft_core::kernels::bf16_units;
use peft_data::{Format, Task};
use peft_format::AdapterConfig;
use peft_methods::{Entry, SCALE_RATE, by_name};
use serde_json::{Map, Value, json};

use super::{Ending, RunState, fingerprint::Fingerprint};
use crate::{ComputeType, RunConfig, RunError, TaskFile};

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
    /// Weights of the classes, if they have some.
    pub class_weights: Option<&'a [f64]>,
    /// The metric that selects, where it is not the task's.
    pub select_metric: Option<&'a str>,
    /// Whether the model itself drops anything in training.
    pub drops: bool,
    /// Whether blocks of the model share their layers.
    pub shares_layers: bool,
    /// Whether anything is trained that weight decay is not for.
    pub spares: bool,
    /// Whether rows that are evaluated lack one of more than two classes.
    pub absent_classes: bool,
    /// Whether the run was begun by the first version, and computes blocks again for their gradients.
    pub recomputed: bool,
}

/// A rule that is not that of the first version, where it makes a difference. A run that was begun without it
/// would go on to something else, and is not gone on with.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// Its name among the settings, and what it says.
    name: &'static str,
    says: &'static str,
    /// What was done before, as the end of "by a version that".
    before: &'static str,
    /// Whether it makes a difference to a run.
    matters: fn(&RunConfig, &Resolved) -> bool,
}

const RULES: [Rule; 9] = [
    Rule {
        name: "quotes in tsv",
        says: "read as pandas writes them",
        before: "took quotes in tsv files for text",
        matters: |config, _| formats(config).contains(&Format::Tsv),
    },
    Rule {
        name: "lists in cells",
        says: "read as lists",
        before: "took lists in cells for names of labels",
        matters: |config, _| {
            let delimited = |format: &Format| matches!(format, Format::Csv | Format::Tsv);
            config.task == Task::MultiLabel && formats(config).iter().any(delimited)
        },
    },
    Rule {
        name: "settings beside tokenizer.json",
        says: "obeyed",
        before: "passed over what tokenizer_config.json says beside tokenizer.json",
        matters: |_, run| run.overruled,
    },
    Rule {
        name: "weight decay",
        says: "not of biases and norms",
        before: "put weight decay on biases and norms, too",
        matters: |config, run| config.weight_decay > 0.0 && run.spares,
    },
    Rule {
        name: "dropout of the parts of a batch",
        says: "each its own",
        before: "could drop in parts of a batch what it had dropped in another step",
        matters: |config, run| config.grad_accumulation > 1 && (run.drops || adapter_drops(run)),
    },
    Rule {
        name: "dropout of adapters in shared layers",
        says: "of each pass its own",
        before: "dropped the same in all passes through layers that blocks share",
        matters: |_, run| run.shares_layers && adapter_drops(run),
    },
    Rule {
        name: "settings given with an adapter",
        says: "obeyed",
        before: "passed over settings that only concern training where an adapter is continued",
        matters: |config, run| {
            config.adapter.is_some() && of_training(config, run).next().is_some()
        },
    },
    Rule {
        name: "F1 of absent classes",
        says: "not counted",
        before: "counted classes that no row has, and none is predicted to have, in the mean of F1",
        matters: |_, run| run.absent_classes,
    },
    Rule {
        name: "recomputation",
        says: "to the same bits",
        before: "computed other bits with `recompute` for this method",
        matters: |config, run| {
            let method = || by_name(&config.method).is_ok_and(Entry::recomputed_otherwise);
            run.recomputed && (run.shares_layers || method())
        },
    },
];

/// Which of two adapters is kept that are equal in the metric that selects, among the settings. The first version
/// kept the earlier, and so do runs that it began.
pub const TIES: &str = "of equal selections";

/// What a processor computes with, among the settings.
const INSTRUCTIONS: &str = "the processor";
const COMPUTE: &str = "--compute";
const UNITS: &str = "the processor's units for bf16";

/// How the files of a run are written.
fn formats(config: &RunConfig) -> Vec<Format> {
    let files = [
        Some(&config.data),
        config.select_data.as_ref(),
        config.eval_data.as_ref(),
    ];
    let format = |path: &PathBuf| config.data_format.or_else(|| Format::from_path(path).ok());
    files.into_iter().flatten().filter_map(format).collect()
}

/// Whether the adapters of a run drop anything.
fn adapter_drops(run: &Resolved) -> bool {
    let drops = |(key, value): (&String, &Value)| {
        key.contains("dropout") && value.as_f64().is_some_and(|p| p > 0.0)
    };
    run.adapter.fields().iter().any(drops)
}

/// Settings of the method that concern training only, and are not in the adapter's files.
fn of_training<'a>(
    config: &'a RunConfig,
    run: &'a Resolved,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let settings = config.method_config.iter();
    settings.filter(|(key, _)| !run.adapter.fields().contains_key(*key))
}

/// The settings that determine the bits, by the names of their flags. Paths are not among them, for
/// files count by their content, nor are the number of threads, `--save-steps` and, but for blocks that share their
/// layers, `--recompute`.
pub fn settings(config: &RunConfig, resolved: &Resolved) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    for rule in RULES {
        if (rule.matters)(config, resolved) {
            set(rule.name, rule.says.into());
        }
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
        // Elsewhere it changes nothing; where blocks share their layers, their gradients are summed in another
        // order.
        ("--recompute", config.recompute && resolved.shares_layers),
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
    set(TIES, "kept by the lower loss".into());
    for (key, value) in [
        ("--eval-steps", json!(config.eval_steps)),
        ("--early-stopping", json!(config.early_stopping)),
        ("--class-weights", json!(resolved.class_weights)),
    ] {
        if !value.is_null() {
            set(key, value);
        }
    }
    if let Some(metric) = resolved.select_metric {
        set("--select-metric", metric.into());
    }
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
    set(COMPUTE, json!(config.compute));
    if config.compute != ComputeType::F32 {
        set(UNITS, bf16_units().unwrap_or("none").into());
    }
    set("--seed", json!(config.seed));
    set("--device", json!(resolved.device));
    if resolved.device.starts_with("cpu") {
        set(INSTRUCTIONS, peft_simd::instructions().into());
    }
    for (key, value) in resolved.adapter.fields() {
        if !NOT_VALUES.contains(&key.as_str()) {
            set(&format!("`{key}` of the adapter"), value.clone());
        }
    }
    let by_itself = |entry: &Entry| entry.scales_by_itself();
    let scales = by_name(&config.method).is_ok_and(by_itself);
    for (key, value) in of_training(config, resolved) {
        // It was on before there was a setting for it.
        if scales && key == SCALE_RATE && *value == Value::Bool(true) {
            continue;
        }
        set(&format!("`{key}` of the method"), value.clone());
    }
    map
}

/// Refuse to go on from a state whose settings or inputs differ from those of now, or that an earlier version
/// brought about in a way that this one does not.
pub fn compare(before: &RunState, now: &RunState, output: &Path) -> Result<(), RunError> {
    let is_rule = |key: &str| RULES.iter().any(|rule| rule.name == key);
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
    // Of runs before there was a choice.
    let only = json!(ComputeType::F32);
    for key in keys {
        let old = before.settings.get(key);
        let old = old.or((key == COMPUTE).then_some(&only));
        let new = now.settings.get(key);
        // Of what the first version did not write down nothing is known.
        let unknown =
            old.is_none() && (is_rule(key) || [INSTRUCTIONS, TIES].contains(&key.as_str()));
        if old != new && !unknown {
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
    // What a finished run came to is told as it is.
    let goes_on = !matches!(before.ending, Some(Ending::Finished(_)));
    let missing = |rule: &&Rule| {
        now.settings.contains_key(rule.name) && !before.settings.contains_key(rule.name)
    };
    match RULES.iter().find(missing).filter(|_| goes_on) {
        None => Ok(()),
        Some(rule) => Err(RunError::Output {
            folder: output.to_owned(),
            problem: format!(
                "its run was begun by a version that {}, and this one would come to something else",
                rule.before
            ),
            fix: "start the run afresh in another `output`".into(),
        }),
    }
}
