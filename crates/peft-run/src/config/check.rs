//! What of a configuration makes no sense, before any file is opened.

use std::path::{Path, PathBuf};

use peft_config::{Origin, Problem};
use peft_data::{Format, Task};
use peft_format::{Bias, TargetModules, gguf, near};
use peft_methods::{Entry, selectable};
use peft_train::{Selector, TrainError};
use serde_json::{Map, Value};

use crate::{RunConfig, objective};

impl RunConfig {
    /// Everything that is wrong with the settings by themselves; the rest shows when files are opened.
    /// A problem stands at the flag of its setting.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems_with(&[
            ("model", &self.model),
            ("data", &self.data),
            ("output", &self.output),
        ])
    }

    /// The same for a run of a method that no registry knows.
    pub(crate) fn problems_but_method(&self) -> Vec<Problem> {
        let mut problems = self.problems();
        problems.retain(|one| one.key != "method" && !one.key.starts_with("method_config."));
        problems
    }

    /// The same for what runs share, which needs no place to write to.
    pub(crate) fn prepare_problems(&self) -> Vec<Problem> {
        self.problems_with(&[("model", &self.model), ("data", &self.data)])
    }

    /// The same for a plan, which needs neither data nor a place to write to.
    pub(crate) fn plan_problems(&self) -> Vec<Problem> {
        self.problems_with(&[("model", &self.model)])
    }

    fn problems_with(&self, needed: &[(&str, &PathBuf)]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong =
            |key: &str, text: String| problems.push(Problem::new(Origin::Default, key, text));
        for (key, path) in needed {
            if path.as_os_str().is_empty() {
                let text = format!("not given; give it, or `{key} = …` in a file of settings");
                wrong(key, text);
            }
        }
        let rates = [
            ("learning_rate", self.learning_rate.unwrap_or(1.0)),
            ("head_learning_rate", self.head_learning_rate.unwrap_or(1.0)),
        ];
        for (key, rate) in rates {
            if !rate.is_finite() || rate <= 0.0 {
                wrong(key, format!("{rate} is no rate; give one above 0"));
            }
        }
        let amounts = [
            ("epochs", self.epochs),
            ("warmup", self.warmup),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
        ];
        for (key, amount) in amounts {
            if !amount.is_finite() || amount < 0.0 {
                wrong(key, format!("{amount} makes no sense; give 0 or more"));
            }
        }
        if let Err(problem) = self.bias.parse::<Bias>() {
            wrong(
                "bias",
                format!("`{}` is none of them; {problem}", self.bias),
            );
        } else if self.bias != "none"
            && let Ok(entry) = peft_methods::by_name(&self.method)
            && !peft_format::peft_knows(entry.peft_type, "bias")
        {
            let text = format!("Hugging Face PEFT has no such setting for {}", self.method);
            wrong("bias", text);
        }
        if let Some(p) = self.model_dropout.filter(|p| !(0.0..1.0).contains(p)) {
            let text = format!("{p} is no probability; give one below 1");
            wrong("model_dropout", text);
        }
        let counts = [
            ("select_epochs", Some(self.select_epochs)),
            ("eval_steps", self.eval_steps),
            ("early_stopping", self.early_stopping),
            ("batch_size", Some(self.batch_size as u64)),
            ("grad_accumulation", Some(self.grad_accumulation as u64)),
            ("max_length", Some(self.max_length as u64)),
            ("threads", self.threads.map(|threads| threads as u64)),
            ("steps", self.steps),
            ("save_steps", self.save_steps),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == Some(0)) {
            wrong(key, "0 is too few; give 1 or more".into());
        }
        if self.steps.is_none() && self.epochs == 0.0 {
            wrong(
                "epochs",
                "nothing would be trained; give more than 0".into(),
            );
        }
        if self.new_head && self.adapter.is_some() {
            let text = "an adapter to continue from brings its own head; leave one of the two out";
            wrong("new_head", text.into());
        }
        if self.new_head && !self.task.has_classes() && self.task.problem_type().is_none() {
            let text = "a language model predicts with its own head; leave it out";
            wrong("new_head", text.into());
        }
        if self.eval_steps.is_some() && self.select_epochs != 1 {
            let text = "selections are counted in steps or in epochs; leave `select_epochs` out";
            wrong("eval_steps", text.into());
        }
        // The number of labels is no matter here.
        let objective = objective(self.task, 2);
        if let Err(TrainError::Setting { problem, fix, .. }) =
            Selector::new(objective.as_ref(), self.select_metric.as_deref())
        {
            wrong("select_metric", format!("{problem}; {fix}"));
        }
        if self.class_weights.is_some() && self.task != Task::Classify {
            let text = format!(
                "classes have weights, and {} has none; leave it out",
                objective.name()
            );
            wrong("class_weights", text);
        }
        if self.exclude_modules == TargetModules::AllLinear {
            let text = "expected names or a regular expression, found all-linear";
            wrong("exclude_modules", text.into());
        }
        match selectable().find(|entry| entry.name.eq_ignore_ascii_case(&self.method)) {
            Some(entry) => {
                let settings = &self.method_config;
                for (key, text) in method_problems(entry, settings) {
                    let key = match key.as_str() {
                        // Of no single one.
                        "" => "method".to_owned(),
                        key => format!("method_config.{key}"),
                    };
                    problems.push(Problem::new(Origin::Default, key, text));
                }
            }
            None => {
                let names: Vec<&str> = selectable().map(|entry| entry.name).collect();
                let similar = near::nearest(&self.method, names.iter().copied(), 1);
                let text = format!(
                    "there is no method `{}`{}; choose one of {}",
                    peft_format::shorten(&self.method),
                    near::did_you_mean(&similar),
                    names.join(", ")
                );
                wrong("method", text);
            }
        }
        problems
    }
}

impl RunConfig {
    /// Files and folders that are not there, or not what they should be.
    pub(super) fn missing(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let place = |path: &Path, text: &str| format!("{}: {text}", path.display());
        let mut wrong =
            |key: &str, text: String| problems.push(Problem::new(Origin::Default, key, text));
        let given = |path: &Path| !path.as_os_str().is_empty();
        let model = &self.model;
        if given(model) && !model.join("config.json").is_file() {
            match gguf::locate(model) {
                Ok(Some(_)) if model.exists() => {}
                Ok(_) => {
                    let text = "no model: neither a folder with config.json nor a GGUF file";
                    wrong("model", place(model, text));
                }
                Err(error) => wrong("model", error.to_string()),
            }
        }
        let files = [
            ("data", Some(&self.data)),
            ("eval_data", self.eval_data.as_ref()),
            ("select_data", self.select_data.as_ref()),
        ];
        for (key, path) in files {
            let Some(path) = path.filter(|path| given(path)) else {
                continue;
            };
            if !path.is_file() {
                wrong(key, place(path, "no such file"));
            } else if self.data_format.is_none()
                && let Err(error) = Format::from_path(path)
            {
                wrong(key, error.to_string());
            }
        }
        if let Some(path) = &self.adapter
            && !path.join("adapter_config.json").is_file()
        {
            let text = "no adapter folder: it has no adapter_config.json";
            wrong("adapter", place(path, text));
        }
        if self.output.exists() && !self.output.is_dir() {
            let text = "a folder is to be written, but this is a file";
            wrong("output", place(&self.output, text));
        }
        problems
    }
}

/// Keys that the method does not have, and settings that it refuses.
fn method_problems(entry: &Entry, given: &Map<String, Value>) -> Vec<(String, String)> {
    let unknown = |key: &&String| !entry.keys.contains(&key.as_str());
    let problems: Vec<(String, String)> = given
        .keys()
        .filter(unknown)
        .map(|key| {
            let similar = near::nearest(key, entry.keys.iter().copied(), 1);
            let hint = match similar.as_slice() {
                [] => format!("; its settings are {}", entry.keys.join(", ")),
                similar => near::did_you_mean(similar),
            };
            let key = peft_format::shorten(key);
            let text = format!("{} has no setting `{key}`{hint}", entry.name);
            (key, text)
        })
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    let refusal = |changes: &Map<String, Value>| {
        let mut settings = (entry.defaults)();
        settings.extend(changes.clone());
        (entry.build)(&settings)
            .err()
            .map(|error| error.to_string())
    };
    let Some(text) = refusal(given) else {
        return problems;
    };
    // One setting alone is mostly to blame; name it.
    let single = given.iter().find_map(|(key, value)| {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        refusal(&alone).map(|text| (key.clone(), text))
    });
    vec![single.unwrap_or_else(|| (given.keys().next().cloned().unwrap_or_default(), text))]
}
