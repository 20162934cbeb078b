use std::path::{Path, PathBuf};

use peft_config::Problems;
use peft_core::AdapterError;
use peft_data::DataError;
use peft_format::FormatError;
use peft_models::ModelError;
use peft_train::TrainError;
use thiserror::Error;

use crate::BaseFile;

/// Why a run, or something else from files to files, stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The loop. What an adapter, a file or the run's own part of the loop made it stop with has its own
    /// variants here.
    #[error(transparent)]
    Train(TrainError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// What is wrong with the files of an adapter, by itself or on this base.
    #[error("{}: {error}{fix}", folder.display())]
    OfAdapter {
        /// The adapter folder.
        folder: PathBuf,
        /// What is wrong.
        error: AdapterError,
        /// What to do, where the error does not say it.
        fix: &'static str,
    },
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Settings, each with the place where it was written.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// A setting.
    #[error("{setting}: {problem}; {fix}")]
    Setting {
        /// The setting.
        setting: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// The chosen device is not there.
    #[error("device `{device}`: {problem}; {fix}")]
    Device {
        /// The device asked for.
        device: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A file beside the adapter is broken.
    #[error("{}: {problem}; {fix}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// An adapter was trained on other weights than those of the base it is to be used with.
    #[error(
        "{}: it was trained on `{}` ({}), but `{}` ({}) holds other weights; give the base that it was \
         trained on as the setting `model`, or the setting `any_base` to use this one all the same",
        adapter.display(), recorded.model, recorded.fingerprint.short(), found.model,
        found.fingerprint.short()
    )]
    OtherBase {
        /// The adapter folder.
        adapter: PathBuf,
        /// The base that it was trained on.
        recorded: Box<BaseFile>,
        /// The base that was given.
        found: Box<BaseFile>,
    },
    /// A weight of the base holds numbers that are none.
    #[error(
        "{}: {count} values of `{tensor}` are NaN or infinite, so nothing that is computed with it means \
         anything; fetch the model again, or use a checkpoint from before its training broke down",
        model.display()
    )]
    BrokenBase {
        /// The model folder.
        model: PathBuf,
        /// The tensor, as the checkpoint calls it.
        tensor: String,
        /// How many of its values are none.
        count: usize,
    },
    /// A prediction is no number.
    #[error(
        "row {row} of the data: the model's output is NaN or infinite{}; its weights or its adapter are \
         broken, or the numbers left the range of their type",
        first_at(module.as_deref())
    )]
    NotFinite {
        /// The row, from 1.
        row: usize,
        /// The first module whose output is not finite, by the checkpoint's name.
        module: Option<String>,
    },
    /// A run asks for something else than what is prepared.
    #[error(
        "`{setting}`: what is prepared was made with {prepared}, this run has {asked}; give it as it was, \
         or prepare anew"
    )]
    NotPrepared {
        /// The setting.
        setting: String,
        /// Its value there.
        prepared: String,
        /// Its value in the run.
        asked: String,
    },
    /// A prompt that a text cannot be generated from.
    #[error("prompt {prompt}: {problem}; {fix}")]
    Prompt {
        /// Its number, from 0.
        prompt: usize,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// Scores of the next token are NaN or infinite.
    #[error(
        "prompt {sequence}: after {tokens} tokens the next token's scores are NaN or infinite; the first module \
         with such an output is `{module}`{adapters}. Look at the weights of the model and \
         its adapters, or compute in f32"
    )]
    NextNotFinite {
        /// The prompt, from 0.
        sequence: usize,
        /// Tokens before the next.
        tokens: usize,
        /// The module, by the checkpoint's name.
        module: String,
        /// The adapters, where there are several.
        adapters: String,
    },
    /// The rows of a step hold nothing that the objective could learn from.
    #[error(
        "rows {} of the data have no target for {objective}; leave them out, or allow longer sequences if \
         they were cut before it",
        shown(rows)
    )]
    NothingToLearn {
        /// The objective.
        objective: &'static str,
        /// The rows, from 0.
        rows: Vec<usize>,
    },
    /// The run was asked to stop, and did after saving.
    #[error(
        "interrupted after step {step} of {total}: give the same command with `resume` to continue; \
         the adapter so far is in {}", output.join("last").display()
    )]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps to do.
        total: u64,
        /// The output folder.
        output: PathBuf,
    },
    /// The run was asked to stop before its own adapters were made, and did after saving.
    #[error(
        "interrupted in the {phase} after step {step} of {total}: give the same command with `resume` to \
         continue in {}", output.display()
    )]
    InterruptedBefore {
        /// The phase.
        phase: String,
        /// Steps done in it.
        step: u64,
        /// Steps to do in it.
        total: u64,
        /// The output folder.
        output: PathBuf,
    },
    /// The output folder holds something else than this run can go on from or replace.
    #[error("{}: {problem}; {fix}", folder.display())]
    Output {
        /// The output folder.
        folder: PathBuf,
        /// What is there.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A resumed run is asked for with a setting or an input that would change its bits.
    #[error(
        "{what}: the run in {} was started with {before}, this command has {now}; give it as it was, \
         or start afresh in another `output`", folder.display()
    )]
    Changed {
        /// The setting or the input.
        what: String,
        /// Its value then.
        before: String,
        /// Its value now.
        now: String,
        /// The output folder.
        folder: PathBuf,
    },
}

fn first_at(module: Option<&str>) -> String {
    module.map_or(String::new(), |module| format!(", first after `{module}`"))
}

/// The first of some rows.
fn shown(rows: &[usize]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<String> = rows.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if rows.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

impl From<TrainError> for RunError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Adapter(error) => Self::Adapter(error),
            TrainError::Format(error) => Self::Format(error),
            TrainError::Batch(error) => match error.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Train(TrainError::Batch(other)),
            },
            other => Self::Train(other),
        }
    }
}

/// On its way through the loop.
impl From<RunError> for TrainError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Train(error) => error,
            RunError::Adapter(error) => Self::Adapter(error),
            RunError::Format(error) => Self::Format(error),
            other => Self::batch(other),
        }
    }
}

impl RunError {
    /// The same error with the folder of the adapter that it is about, where it is about an adapter's files and names none.
    #[must_use]
    pub(crate) fn of_adapter(self, folder: &Path) -> Self {
        use AdapterError::{
            Dtype, MissingTensor, NoPlace, NotFinite, NotInteger, Places, Shape, Unmatched,
        };
        let Self::Adapter(error) = self else {
            return self;
        };
        let fix = match &error {
            MissingTensor { .. } | Dtype { .. } | NotInteger { .. } | NotFinite { .. } => {
                "; take the adapter anew from where it was trained, or train it again"
            }
            NoPlace { .. } | Unmatched { .. } => "; give the base that it was trained on",
            Shape { .. } | Places { .. } => "",
            _ => return Self::Adapter(error),
        };
        Self::OfAdapter {
            folder: folder.to_owned(),
            error,
            fix,
        }
    }

    /// The same error of rows that come after `rows` others.
    #[must_use]
    pub fn after(self, rows: usize) -> Self {
        match self {
            Self::NotFinite { row, module } => Self::NotFinite {
                row: row + rows,
                module,
            },
            other => other,
        }
    }

    pub(crate) fn setting(
        setting: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::Setting {
            setting: setting.into(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}
