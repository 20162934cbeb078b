//! A model with several adapters.

use std::path::Path;

use burn::tensor::Device;
use peft_core::{AdapterRoster, AttachReport, LoadedAdapter, Method, load_adapter_as};
use peft_data::{Task, TextTokenizer};
use peft_format::AdapterConfig;
use peft_models::{Model, ModelFolder, Network};

use super::{
    Tie, expect_covered, expect_task, fit_adapter, fit_tie, infer_task, leave_room,
    read_with_method, use_head_of,
};
use crate::{BaseFile, BaseOptions, RunError, TaskFile, objective::CAUSAL, text};

/// What [`open_set`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct OpenSetOptions<'a> {
    /// Hugging Face model folder or GGUF file.
    pub model: &'a Path,
    /// Adapter folders, each with a name.
    pub adapters: &'a [(&'a str, &'a Path)],
    /// Use the adapters even on another base than the one they were trained on.
    pub any_base: bool,
    /// The task, where no file tells it.
    pub task: Option<Task>,
    /// How the frozen matrices are kept.
    pub base: BaseOptions,
    /// Where to compute.
    pub device: &'a Device,
}

/// A model ready to predict by adapters that are switched, or chosen row by row.
#[derive(Debug)]
pub struct AdaptedSet {
    /// The model. The first of the adapters is active.
    pub model: Model,
    /// What all of them predict.
    pub task: TaskFile,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// The adapters, in the order in which they were given.
    pub adapters: Vec<NamedAdapter>,
    /// What may be chosen.
    pub roster: AdapterRoster,
}

/// One of the adapters of a model.
#[derive(Debug)]
pub struct NamedAdapter {
    /// Its name.
    pub name: String,
    /// Its method.
    pub method: Box<dyn Method>,
    /// Its configuration, to save it with.
    pub config: AdapterConfig,
    /// Its coverage.
    pub report: AttachReport,
}

/// Open a model with several adapters, each with the head that it was trained with.
///
/// # Errors
/// If files are missing or broken, there is no adapter or two have one name, one belongs to another base,
/// they were not trained to one task, for the same labels and, but for language models, the same lengths, or one
/// lacks a head.
pub fn open_set(options: &OpenSetOptions) -> Result<AdaptedSet, RunError> {
    let mut folder = ModelFolder::open(options.model)?;
    options.base.apply(&mut folder, options.device)?;
    let tokenizer = text::tokenizer(options.model)?;
    let base = match options.any_base {
        true => None,
        false => Some(BaseFile::of(&folder)?),
    };
    let mut task: Option<(&str, TaskFile)> = None;
    let mut read = Vec::new();
    let mut ties: Option<(&str, Tie)> = None;
    for (name, path) in options.adapters {
        if let (Some(base), Some(recorded)) = (&base, BaseFile::read(path)?) {
            recorded.expect_same(path, base)?;
        }
        let (method, loaded) = read_with_method(path)?;
        use_head_of(&mut folder, Some(&loaded));
        if let Some(tie) = fit_tie(&mut folder, &loaded)? {
            let (first, known) = *ties.get_or_insert((name, tie));
            if known != tie {
                let told = |tie| match tie {
                    Tie::Kept => "as one",
                    Tie::Parted => "as two",
                };
                return Err(RunError::setting(
                    format!("`adapter` {name}"),
                    format!(
                        "it was trained with the table of tokens and the head {}, and `{first}` {}",
                        told(tie),
                        told(known)
                    ),
                    "use them one at a time",
                ));
            }
        }
        let mut own = match TaskFile::read(path)? {
            Some(task) => task,
            None => infer_task(&folder, Some(&loaded), options.task, tokenizer.max_length())?,
        };
        leave_room(&mut own, method.as_ref(), &folder);
        match &mut task {
            None => task = Some((name, own)),
            Some((first, shared)) => {
                // How long the texts were that a language model learned from says nothing of what it predicts.
                if shared.task == CAUSAL && own.task == CAUSAL {
                    let longest = shared.max_length.max(own.max_length);
                    (shared.max_length, own.max_length) = (longest, longest);
                }
                expect_same(shared, first, &own, name)?;
            }
        }
        read.push((*name, *path, method, loaded));
    }
    for (_, _, _, loaded) in &mut read {
        fit_adapter(&folder, loaded)?;
    }
    let Some((_, task)) = task else {
        return Err(RunError::setting(
            "`adapter`",
            "there is none",
            "give one or more as NAME=DIR",
        ));
    };
    expect_task(&task, options.task)?;
    for (_, path, method, loaded) in &read {
        expect_covered(path, &folder, task.head(), method.as_ref(), loaded)?;
    }
    let (mut model, loading) = Model::load(&folder, task.head(), 0, options.device)?;
    let names = model.description().names();
    let mut adapters = Vec::new();
    for (name, path, method, loaded) in read {
        expect_head(
            &format!("`adapter` {name}"),
            Some(&loaded),
            &loading.created,
        )?;
        let on = options.device;
        let (with, report) = load_adapter_as(model, name, &loaded, method.as_ref(), &names, on)
            .map_err(|error| RunError::from(error).of_adapter(path))?;
        model = with;
        adapters.push(NamedAdapter {
            name: name.to_owned(),
            method,
            config: loaded.config,
            report,
        });
    }
    let mut roster = AdapterRoster::of(&model);
    if let Some(made) = loading.created.first() {
        let reason =
            format!("the checkpoint has no head of its own (`{made}`), only adapters have");
        roster = roster.without_base(&reason);
    }
    Ok(AdaptedSet {
        model,
        task,
        tokenizer,
        adapters,
        roster,
    })
}

/// Refuse adapters whose predictions do not mean the same.
fn expect_same(
    first: &TaskFile,
    first_name: &str,
    other: &TaskFile,
    name: &str,
) -> Result<(), RunError> {
    if first == other {
        return Ok(());
    }
    let told = |task: &TaskFile| {
        let labels = match task.labels.is_empty() {
            true => String::new(),
            false => format!(", labels `{}`", task.labels.join("`, `")),
        };
        let kind = task.objective();
        let kind = kind.name();
        format!("{kind}{labels}, {} tokens", task.max_length)
    };
    Err(RunError::setting(
        format!("`adapter` {name}"),
        format!(
            "it was trained otherwise ({}) than `{first_name}` ({})",
            told(other),
            told(first)
        ),
        "use them one at a time, or train them for one task, the same labels and `max_length`",
    ))
}

/// Refuse to predict with modules of the head that neither the checkpoint nor the adapter has.
pub(super) fn expect_head(
    setting: &str,
    adapter: Option<&LoadedAdapter>,
    made: &[String],
) -> Result<(), RunError> {
    let saved = |module: &&String| {
        let weight = format!("{module}.weight");
        adapter.is_some_and(|adapter| adapter.saved.contains_key(&weight))
    };
    match made.iter().find(|module| !saved(module)) {
        None => Ok(()),
        Some(fresh) => Err(RunError::setting(
            setting,
            format!("neither the checkpoint nor the adapter has `{fresh}`"),
            "give an adapter trained with its head, or a checkpoint with one",
        )),
    }
}
