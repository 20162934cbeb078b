//! The model card.

use std::fmt::Write;

use peft_config::value_text;
use peft_core::{Method, SiteKind};
use peft_format::peft_has;
use peft_train::{Confusion, HeadNeed, Objective};
use serde_json::{Value, json};

use super::{Summary, log::Log};
use crate::{Evaluation, checkpoint::Best};

/// `README.md`: metadata as PEFT writes it, what was trained on what, how good it is, how to use it.
pub fn card(run: &Summary, log: &Log, objective: &dyn Objective) -> String {
    let metric = objective.main_metric();
    let config = run.config;
    let base = run.base_name();
    let method = &config.method;
    let name = run.model_name();
    // The library is Hugging Face's: whoever reads this would load the adapter with it.
    let [library, peft] = match is_of_peft(run) {
        true => ["library_name: peft\n", "- peft\n"],
        false => [""; 2],
    };
    let mut out = format!(
        "---\nbase_model: {base}\n{library}pipeline_tag: {pipeline}\n\
         tags:\n- {tag}\n- {method}\n{peft}---\n\n# {method} adapter of {title}\n\n",
        base = quoted(&base),
        pipeline = objective.pipeline_tag(),
        tag = quoted(&format!("base_model:adapter:{base}")),
        title = code(&name),
    );
    let share = |part: u64| 100.0 * part as f64 / log.planned("total_parameters").max(1) as f64;
    let (trained, head) = (
        log.planned("trainable_parameters"),
        log.planned("head_parameters"),
    );
    let _ = writeln!(
        out,
        "{trained} parameters on {} modules were trained, and {head} of the head: {:.2} % of the \
         model. {}\n",
        log.planned("targets"),
        share(trained + head),
        task_line(run, objective),
    );
    if !run.finished {
        let _ = writeln!(
            out,
            "**Training was interrupted after step {} of {}.**\n",
            run.step,
            log.planned("steps")
        );
    }
    out += "## Results\n\n";
    match run.best {
        Some(best) => results(&mut out, run, best),
        None => out += "Nothing was evaluated yet.\n",
    }
    let _ = writeln!(out, "\nIt was trained on {} rows.", log.planned("rows"));
    let _ = writeln!(
        out,
        "\n![Loss by step](loss.svg)\n\n![{metric} by step]({metric}.svg)\n\n## How to use it\n"
    );
    usage(&mut out, run, objective);
    settings(&mut out, run);
    out
}

fn task_line(run: &Summary, objective: &dyn Objective) -> String {
    let labels: Vec<String> = run.task.labels.iter().map(|label| code(label)).collect();
    let summary = objective.summary();
    match labels.as_slice() {
        [] => format!("{summary}."),
        labels => format!("{summary}: {}.", labels.join(", ")),
    }
}

fn results(out: &mut String, run: &Summary, best: &Best) {
    let _ = writeln!(
        out,
        "Of the adapter kept here, that of step {} of {}:\n",
        best.step, run.step
    );
    let names: Vec<&str> = best.selection.metrics.keys().map(String::as_str).collect();
    let _ = writeln!(out, "| rows | number | loss | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len() + 2));
    let mut row = |name: &str, evaluation: &Evaluation| {
        let figures = names.iter().map(|name| evaluation.metrics.get(*name));
        let figures: Vec<String> = figures
            .map(|figure| figure.map_or_else(|| "–".into(), |value| format!("{value:.4}")))
            .collect();
        let (rows, loss) = (evaluation.rows, evaluation.loss);
        let _ = writeln!(
            out,
            "| {name} | {rows} | {loss:.4} | {} |",
            figures.join(" | ")
        );
    };
    row("selection: chose the adapter", &best.selection);
    if let Some(evaluation) = &best.report {
        row("report: chose nothing", evaluation);
    }
    let shown = best.report.as_ref().unwrap_or(&best.selection);
    if let Some(confusion) = &shown.confusion {
        let rows = if best.report.is_some() {
            "report"
        } else {
            "selection"
        };
        classes(out, rows, confusion, &run.task.labels);
    }
}

/// Most classes of which a card has a table, and of which it says what was taken for what.
const TABLE: usize = 100;
const MATRIX: usize = 12;

/// Each class by itself, and which were taken for which.
fn classes(out: &mut String, rows: &str, confusion: &Confusion, labels: &[String]) {
    if labels.len() > TABLE {
        return;
    }
    let _ = writeln!(
        out,
        "\nOf the rows of the {rows}, class by class:\n\n| class | rows | precision | recall | F1 |\n|---|---|---|---|---|"
    );
    for (label, of) in labels.iter().zip(confusion.by_class()) {
        let _ = writeln!(
            out,
            "| {} | {} | {:.4} | {:.4} | {:.4} |",
            code(label),
            of.support,
            of.precision,
            of.recall,
            of.f1
        );
    }
    if labels.len() > MATRIX {
        return;
    }
    let names: Vec<String> = labels.iter().map(|label| code(label)).collect();
    let _ = writeln!(
        out,
        "\nRows by true class (down) and predicted class (across):\n\n| | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for (name, counts) in names.iter().zip(confusion.matrix()) {
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        let _ = writeln!(out, "| {name} | {} |", counts.join(" | "));
    }
}

fn usage(out: &mut String, run: &Summary, objective: &dyn Objective) {
    let base = run.base_name();
    let class = format!("AutoModel{}", objective.class_suffix());
    let head = match objective.head() {
        HeadNeed::Language => String::new(),
        HeadNeed::Tokens { outputs } => format!(", num_labels={outputs}"),
        HeadNeed::Sequence { outputs } => {
            // What transformers takes a head for unless it is told.
            let guess = match outputs {
                1 => "regression",
                _ => "single_label_classification",
            };
            let told = objective.problem_type().filter(|kind| *kind != guess);
            let told = told.map(|kind| format!(", problem_type=\"{kind}\""));
            format!(", num_labels={outputs}{}", told.unwrap_or_default())
        }
    };
    let use_it = match objective.head() {
        HeadNeed::Language => "eval",
        HeadNeed::Sequence { .. } | HeadNeed::Tokens { .. } => "predict",
    };
    let shell = shell(&base);
    let merges = can_merge(run.method);
    let merge = match merges {
        true => format!("peft merge --model {shell} --adapter FOLDER --output MERGED\n"),
        false => String::new(),
    };
    let why = match run.refused_on {
        None => format!("does not know {}", run.config.method),
        Some(layer) => format!("refuses {} on the `{layer}` of a Mamba", run.method.name()),
    };
    let with_peft = match (is_of_peft(run), merges) {
        (true, _) => format!(
            "With Hugging Face PEFT, where `FOLDER` is this folder:\n\n```python\n\
             from peft import PeftModel\n\
             from transformers import {class}, AutoTokenizer\n\n\
             base = {base}\n\
             tokenizer = AutoTokenizer.from_pretrained(base)\n\
             model = {class}.from_pretrained(base{head})\n\
             model = PeftModel.from_pretrained(model, \"FOLDER\")\n```\n\n\
             With the `peft` binary:",
            base = quoted(&base),
        ),
        (false, true) => format!(
            "Hugging Face PEFT {why}, so it does not load this folder; `peft merge` writes a model folder \
             that transformers loads. With the `peft` binary, where `FOLDER` is this folder:"
        ),
        (false, false) => format!(
            "Hugging Face PEFT {why}, so it does not load this folder, and what changes no weight cannot be \
             merged. With the `peft` binary, where `FOLDER` is this folder:"
        ),
    };
    let _ = write!(
        out,
        "{with_peft}\n\n```sh\n\
         peft {use_it} --model {shell} --adapter FOLDER --data texts.csv\n{merge}```\n\n",
    );
}

/// Whether an adapter of a method can be written into its base: what changes no weight stays beside it.
pub(crate) fn can_merge(method: &dyn Method) -> bool {
    !method.site_kinds().contains(&SiteKind::Slot)
}

/// Whether Hugging Face PEFT loads the adapter.
fn is_of_peft(run: &Summary) -> bool {
    peft_has(run.method.peft_type()) && run.refused_on.is_none()
}

/// The settings that people ask for first; `run.toml` has all of them.
fn settings(out: &mut String, run: &Summary) {
    let config = run.config;
    let values = serde_json::to_value(config).unwrap_or_default();
    let _ = writeln!(
        out,
        "## Settings\n\nAll of them are in [`run.toml`](run.toml), which `peft train --config` reads; every \
         step is in [`metrics.jsonl`](metrics.jsonl).\n\n| setting | value |\n|---|---|"
    );
    let mut row = |key: &str, value: &Value| {
        let _ = writeln!(out, "| {} | {} |", code(key), code(&value_text(value)));
    };
    row("method", &json!(config.method));
    for (key, value) in &config.method_config {
        row(key, value);
    }
    let length = if config.steps.is_some() {
        "steps"
    } else {
        "epochs"
    };
    let keys = [
        "target_modules",
        length,
        "batch_size",
        "grad_accumulation",
        "learning_rate",
        "head_learning_rate",
        "schedule",
        "warmup",
        "weight_decay",
        "clip",
        "max_length",
        "seed",
    ];
    for key in keys {
        if let Some(value) = values.get(key).filter(|value| !value.is_null()) {
            row(key, value);
        }
    }
    let _ = writeln!(out, "\nMade with peft {}.", env!("CARGO_PKG_VERSION"));
}

/// A text as YAML and Python both read it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as a shell reads it.
pub(crate) fn shell(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A text as Markdown code in a table, whatever is in it.
fn code(text: &str) -> String {
    let text = text.replace(char::is_control, " ").replace('|', r"\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_what_they_are() {
        assert_eq!(quoted("a \"b\": c\n"), r#""a \"b\": c\n""#);
        assert_eq!(shell("models/minilm"), "models/minilm");
        assert_eq!(shell("it's here"), r"'it'\''s here'");
        assert_eq!(shell("-x"), "'-x'");
        assert_eq!(code("a|b\n"), r"`a\|b `");
        assert_eq!(code("a`b"), "`` a`b ``");
    }
}
