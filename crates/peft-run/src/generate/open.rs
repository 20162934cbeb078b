//! A model that generates, with its adapters.

use std::path::Path;

use burn::tensor::Device;
use peft_core::AdapterRoster;
use peft_data::TextTokenizer;
use peft_models::{Model, ModelFolder};

use super::{GenerationConfig, Generator};
use crate::{
    BaseOptions, OpenOptions, OpenSetOptions, RunError, TaskFile,
    objective::CAUSAL,
    open::{open, open_set},
};

/// What [`GeneratorModel::open`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct OpenGenerator<'a> {
    /// Hugging Face model folder or GGUF file.
    pub model: &'a Path,
    /// Adapter folders, each with a name; one may be without.
    pub adapters: &'a [(Option<&'a str>, &'a Path)],
    /// Use the adapters even on another base than the one they were trained on.
    pub any_base: bool,
    /// How the frozen matrices are kept.
    pub base: BaseOptions,
    /// Where to compute.
    pub device: &'a Device,
}

/// A language model with its adapters, tokenizer and settings.
#[derive(Debug)]
pub struct GeneratorModel {
    /// The model; the first of its adapters is active.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// What may be chosen, where adapters have names.
    pub roster: Option<AdapterRoster>,
    /// How it chooses tokens where nobody says otherwise.
    pub config: GenerationConfig,
}

impl GeneratorModel {
    /// Open a language model.
    ///
    /// # Errors
    /// If files are missing or broken, the model predicts no next token, or an adapter was trained for
    /// something else or on another base.
    pub fn open(options: &OpenGenerator) -> Result<Self, RunError> {
        expect_causal(options)?;
        let named: Vec<(&str, &Path)> = options
            .adapters
            .iter()
            .filter_map(|(name, path)| Some(((*name)?, *path)))
            .collect();
        let (model, tokenizer, roster) = match (options.adapters, named.as_slice()) {
            ([] | [(None, _)], _) => {
                let adapted = open(&OpenOptions {
                    model: options.model,
                    adapter: options.adapters.first().map(|(_, path)| *path),
                    any_base: options.any_base,
                    task: Some(CAUSAL),
                    base: options.base,
                    device: options.device,
                })?;
                (adapted.model, adapted.tokenizer, None)
            }
            (all, named) if all.len() == named.len() => {
                let set = open_set(&OpenSetOptions {
                    model: options.model,
                    adapters: named,
                    any_base: options.any_base,
                    task: Some(CAUSAL),
                    base: options.base,
                    device: options.device,
                })?;
                (set.model, set.tokenizer, Some(set.roster))
            }
            _ => {
                return Err(RunError::setting(
                    "`adapter`",
                    "several adapters need names",
                    "give each as NAME=DIR",
                ));
            }
        };
        let config = GenerationConfig::of_model(options.model, &tokenizer)?;
        Ok(Self {
            model,
            tokenizer,
            roster,
            config,
        })
    }

    /// What generates with it.
    pub fn generator<'a>(&'a self, config: GenerationConfig, device: &'a Device) -> Generator<'a> {
        Generator {
            model: &self.model,
            tokenizer: &self.tokenizer,
            roster: self.roster.as_ref(),
            device,
            config,
            first: 0,
            stop: None,
        }
    }
}

/// Refuse models and adapters that are for something else, before weights are read.
fn expect_causal(options: &OpenGenerator) -> Result<(), RunError> {
    let folder = ModelFolder::open(options.model)?;
    let kind = folder.config();
    if !kind.is_causal() {
        return Err(RunError::setting(
            "`model`",
            format!(
                "`{}` is an encoder, which predicts no next token",
                kind.model_type()
            ),
            "give a language model, such as one of type llama, qwen3, gemma3_text or mamba",
        ));
    }
    for (name, path) in options.adapters {
        let Some(task) = TaskFile::read(path)? else {
            continue;
        };
        if task.task != CAUSAL {
            let name = name.map_or_else(
                || "`adapter`".to_owned(),
                |name| format!("`adapter` {name}"),
            );
            return Err(RunError::setting(
                name,
                format!(
                    "{}: it was trained for {}, not to predict the next token",
                    path.display(),
                    task.objective().name()
                ),
                "give one that was trained with `task` causal-lm",
            ));
        }
    }
    Ok(())
}
