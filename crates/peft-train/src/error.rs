use std::path::PathBuf;

use peft_core::AdapterError;
use peft_data::DataError;
use peft_format::FormatError;
use peft_models::ModelError;
use thiserror::Error;

use crate::BaseFile;

/// Why a run stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
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
         trained on as --model, or --any-base to go on all the same",
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
    /// The loss or a gradient is NaN or infinite.
    #[error(
        "step {step}: {what} is not finite: lower the learning rate ({learning_rate:e} now), add \
         warm-up, or check the checkpoint with `peft inspect`"
    )]
    NotFinite {
        /// The optimiser step.
        step: u64,
        /// The first tensor that is not finite.
        what: String,
        /// The rate at that step.
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
}

impl TrainError {
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
