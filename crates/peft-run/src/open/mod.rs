//! A model with its adapter, as files hold them.

mod covered;
mod set;
mod tied;

use std::path::Path;

use burn::tensor::Device;
use peft_core::{AttachReport, LoadedAdapter, Method, load_adapter, read_adapter};
use peft_data::{Task, TextTokenizer};
use peft_format::AdapterConfig;
use peft_models::{HeadKind, HeadState, Model, ModelFolder, Network};

use crate::{
    BaseFile, BaseOptions, RunError, TaskFile,
    merge::saved_outputs,
    objective::{
        CAUSAL, has_labels, head_kind, label_names, labelling, likely_task, objective, task_of_type,
    },
    prepared::taken,
    text::tokenizer,
};

pub(crate) use self::covered::{expect_covered, targeted};
pub(crate) use self::tied::{Tie, fit_adapter, fit_run, fit_tie, parts_head, saved_as_one};
pub use set::{AdaptedSet, NamedAdapter, OpenSetOptions, open_set};

/// Longest sequence of a language model, where no adapter says it: models without positions have no limit
/// of their own.
const CONTEXT: usize = 1024;

/// What [`open`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions<'a> {
    /// Hugging Face model folder or GGUF file.
    pub model: &'a Path,
    /// Adapter folder.
    pub adapter: Option<&'a Path>,
    /// Use the adapter even on another base than the one it was trained on.
    pub any_base: bool,
    /// The task, where no file tells it.
    pub task: Option<Task>,
    /// How the frozen matrices are kept.
    pub base: BaseOptions,
    /// Where to compute.
    pub device: &'a Device,
}

/// A model ready to predict.
#[derive(Debug)]
pub struct Adapted {
    /// The model, with its adapter on.
    pub model: Model,
    /// What it predicts.
    pub task: TaskFile,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// The adapter's method and coverage, if there is an adapter.
    pub adapter: Option<(Box<dyn Method>, AttachReport)>,
}

/// Open a model, with an adapter or with a head of its own.
///
/// # Errors
/// If files are missing or broken, the adapter belongs to another base, or there is no head.
pub fn open(options: &OpenOptions) -> Result<Adapted, RunError> {
    let mut folder = ModelFolder::open(options.model)?;
    options.base.apply(&mut folder, options.device)?;
    if let (Some(adapter), false) = (options.adapter, options.any_base) {
        BaseFile::expect(adapter, &folder)?;
    }
    let tokenizer = tokenizer(options.model)?;
    let mut adapter = options.adapter.map(read_with_method).transpose()?;
    let stored = match options.adapter {
        Some(path) => TaskFile::read(path)?,
        None => None,
    };
    if let Some((_, loaded)) = &mut adapter {
        fit(&mut folder, loaded)?;
    }
    let loaded = adapter.as_ref().map(|(_, loaded)| loaded);
    let mut task = match stored {
        Some(task) => task,
        None => infer_task(&folder, loaded, options.task, tokenizer.max_length())?,
    };
    if let Some((method, _)) = &adapter {
        leave_room(&mut task, method.as_ref(), &folder);
    }
    expect_task(&task, options.task)?;
    if let (Some(path), Some((method, loaded))) = (options.adapter, &adapter) {
        expect_covered(path, &folder, task.head(), method.as_ref(), loaded)?;
    }
    let (model, report) = Model::load(&folder, task.head(), 0, options.device)?;
    set::expect_head("`model`", loaded, &report.created)?;
    let Some((path, (method, loaded))) = options.adapter.zip(adapter) else {
        return Ok(Adapted {
            model,
            task,
            tokenizer,
            adapter: None,
        });
    };
    let names = model.description().names();
    let (model, report) = load_adapter(model, &loaded, method.as_ref(), &names, options.device)
        .map_err(|error| RunError::from(error).of_adapter(path))?;
    Ok(Adapted {
        model,
        task,
        tokenizer,
        adapter: Some((method, report)),
    })
}

/// Make base and adapter fit: the base has the head that the adapter needs, and the adapter nothing twice.
///
/// # Errors
/// If the adapter was trained beside another table of tokens.
pub(crate) fn fit(folder: &mut ModelFolder, loaded: &mut LoadedAdapter) -> Result<(), RunError> {
    use_head_of(folder, Some(loaded));
    fit_tie(folder, loaded)?;
    fit_adapter(folder, loaded)
}

/// Of an adapter with a head of other outputs than the checkpoint's own, that head counts.
fn use_head_of(folder: &mut ModelFolder, adapter: Option<&LoadedAdapter>) {
    let saved = adapter.and_then(|loaded| saved_outputs(folder, loaded));
    let task = adapter.and_then(|loaded| task_of_type(loaded.config.task_type()));
    let own = folder.head_for(labelling(task, 1));
    if let (HeadState::Present { outputs, .. }, Some(saved)) = (own, saved)
        && outputs != saved
    {
        folder.drop_head();
    }
}

/// Leave positions to what a method's adapters put before every sequence.
fn leave_room(task: &mut TaskFile, method: &dyn Method, folder: &ModelFolder) {
    let before = taken(method, folder);
    if before > 0 {
        let room = folder.config().max_length().saturating_sub(before);
        task.max_length = task.max_length.min(room);
    }
}

/// Refuse to predict what the adapter was not trained to.
fn expect_task(task: &TaskFile, asked: Option<Task>) -> Result<(), RunError> {
    if asked.is_none_or(|asked| asked == task.task) {
        return Ok(());
    }
    Err(RunError::setting(
        "`task`",
        format!("the adapter was trained to {}", task.objective().name()),
        "leave the flag out, or use another adapter",
    ))
}

/// Read an adapter folder with the method that its configuration names.
pub(crate) fn read_with_method(path: &Path) -> Result<(Box<dyn Method>, LoadedAdapter), RunError> {
    let config = AdapterConfig::read(path)?;
    let method = peft_methods::from_config(&config)?;
    let loaded = read_adapter(path, config, method.as_ref())
        .map_err(|error| RunError::from(error).of_adapter(path))?;
    Ok((method, loaded))
}

/// The task of a language head, if that is what is asked for, or what the files are for.
fn language_task(
    folder: &ModelFolder,
    adapter: Option<&LoadedAdapter>,
    asked: Option<Task>,
) -> Option<Task> {
    let asked = match (asked, adapter) {
        (Some(task), _) => Some(task),
        (None, Some(loaded)) => task_of_type(loaded.config.task_type()),
        (None, None) => None,
    };
    let has_score = folder.head() != HeadState::Absent;
    let by_itself = folder.config().is_causal() && !has_score;
    let task = asked.unwrap_or(if by_itself { CAUSAL } else { return None });
    (head_kind(objective(task, 0).as_ref()) == HeadKind::Language).then_some(task)
}

/// The task that `config.json` declares (`problem_type`), if it does.
///
/// # Errors
/// If it declares one that there is not.
fn declared_task(folder: &ModelFolder) -> Result<Option<Task>, RunError> {
    let config = folder.checkpoint().config()?.unwrap_or_default();
    let Some(kind) = config.get("problem_type").filter(|kind| !kind.is_null()) else {
        return Ok(None);
    };
    let known = [Task::Classify, Task::MultiLabel, Task::Regress];
    let found = known
        .into_iter()
        .find(|task| kind.as_str() == task.problem_type());
    found.map(Some).ok_or_else(|| RunError::File {
        path: folder.path().join("config.json"),
        problem: format!("`problem_type` is {kind}, which is none of the known ones"),
        fix: "correct it to single_label_classification, multi_label_classification or regression"
            .into(),
    })
}

/// The task of a head whose labels no file of ours tells. `limit` is what the tokenizer says of lengths.
pub(crate) fn infer_task(
    folder: &ModelFolder,
    adapter: Option<&LoadedAdapter>,
    asked: Option<Task>,
    limit: Option<usize>,
) -> Result<TaskFile, RunError> {
    let max_length = folder.config().max_length();
    let max_length = limit.map_or(max_length, |limit| max_length.min(limit));
    if let Some(task) = language_task(folder, adapter, asked) {
        return Ok(TaskFile {
            task,
            labels: Vec::new(),
            max_length: max_length.min(CONTEXT),
        });
    }
    let by_type = adapter.and_then(|loaded| task_of_type(loaded.config.task_type()));
    let asked = asked.or(by_type.filter(|task| *task == Task::TokenClassify));
    let (outputs, labels) = match folder.head_for(labelling(asked, 1)) {
        HeadState::Present { outputs, labels } => (outputs, labels),
        HeadState::Absent => match adapter.and_then(|loaded| saved_outputs(folder, loaded)) {
            Some(outputs) => (outputs, folder.config().labels().to_vec()),
            None => {
                return Err(RunError::setting(
                    "`model`",
                    "the checkpoint has no classification head",
                    "give an adapter that was trained with its head",
                ));
            }
        },
    };
    let declared = match asked {
        Some(_) => None,
        None => declared_task(folder)?,
    };
    let task = asked.or(declared).unwrap_or_else(|| likely_task(outputs));
    let inferred = TaskFile {
        task,
        labels: match has_labels(task) {
            true => label_names(labels, outputs),
            false => Vec::new(),
        },
        max_length,
    };
    let objective = inferred.objective();
    if head_kind(objective.as_ref()) != labelling(Some(task), outputs) {
        return Err(RunError::setting(
            "`task`",
            format!(
                "this head has {outputs} outputs, which are none for {}",
                objective.name()
            ),
            "use `task` classify",
        ));
    }
    Ok(inferred)
}
