use std::{error::Error, fmt, path::PathBuf};

use peft_core::AdapterError;
use peft_format::FormatError;
use thiserror::Error;

/// Why training stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// What the caller's own code of a batch ended with: see [`TrainError::batch`].
    #[error(transparent)]
    Batch(Box<dyn Error + Send + Sync>),
    /// Something that training was asked for and that does not go together.
    #[error("{setting}: {problem}; {fix}")]
    Setting {
        /// What was asked for.
        setting: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// Rows, a model's head and an objective that do not belong together.
    #[error("{objective}: {problem}; give rows and a model for this objective")]
    Objective {
        /// The objective.
        objective: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The file of a [`TrainerState`](crate::TrainerState) is broken.
    #[error("{}: {problem}; {fix}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// The model is on a device that keeps nothing for gradients.
    #[error(
        "the loss is on a device without autodiff, where nothing can be differentiated: make the model and its \
         input on `device.autodiff()`"
    )]
    NoAutodiff,
    /// NaN or infinity in training.
    #[error(
        "step {step}: {what} is not finite: lower the learning rate ({learning_rate:e} now), add \
         warm-up, or check the checkpoint with `peft inspect`"
    )]
    NotFinite {
        /// The optimiser step.
        step: u64,
        /// The first tensor that is not finite.
        what: BadTensor,
        /// The rate of adapters at that step.
        learning_rate: f64,
    },
    /// A trained tensor gets no gradient at all.
    #[error(
        "step 1: every gradient of the trained tensors is zero, `{first}` among them: nothing \
         would be learned; check the targets and that the data has more than one label"
    )]
    NoGradient {
        /// One of them.
        first: String,
    },
    /// Some adapters get no gradient, while others do.
    #[error(
        "step {step}: no gradient has ever reached the adapters of {}: what they compute has no part \
         in the loss; exclude these modules, or check the model",
        few(modules)
    )]
    SilentAdapters {
        /// Steps done.
        step: u64,
        /// The adapted modules.
        modules: Vec<String>,
    },
    /// The method was not shown the gradients that it wants between two steps.
    #[error(
        "after step {step} the method wants to look at gradients: call Trainer::look before going on"
    )]
    LookDue {
        /// Steps done.
        step: u64,
    },
    /// Some adapters hold the bits that they started with.
    #[error(
        "after {step} steps the adapters of {} are what they were before the first, bit by bit: {cause}",
        few(modules)
    )]
    NotMoved {
        /// Steps done.
        step: u64,
        /// The adapted modules.
        modules: Vec<String>,
        /// Why, and what to do.
        cause: String,
    },
    /// A stored state does not fit what it should be put into.
    #[error(
        "the stored state of `{name}` does not fit: {problem}; resume with the model, the \
             targets and the method that it was taken from"
    )]
    State {
        /// The parameter.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// The first tensor found to hold NaN or infinity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadTensor {
    /// The loss, and nothing before it that was looked at.
    Loss,
    /// The gradient of a parameter.
    Gradient(String),
    /// A parameter, and so the loss.
    Parameter(String),
    /// The output of a module, and so the loss.
    Output(String),
    /// The loss over the rows of an evaluation.
    Evaluation(&'static str),
}

impl fmt::Display for BadTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss => write!(f, "the loss"),
            Self::Gradient(path) => write!(f, "the gradient of `{path}`"),
            Self::Parameter(path) => write!(f, "the parameter `{path}`, and so the loss,"),
            Self::Output(module) => write!(f, "the output of `{module}`, and so the loss,"),
            Self::Evaluation(split) => write!(f, "the loss over the {split} rows"),
        }
    }
}

/// The first of some names, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let mut text = shown.join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

impl TrainError {
    /// The error of the caller's own code, where it computes a batch for a [`Trainer`](crate::Trainer).
    pub fn batch(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Batch(error.into())
    }

    pub(crate) fn state(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::State {
            name: name.into(),
            problem: problem.into(),
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
