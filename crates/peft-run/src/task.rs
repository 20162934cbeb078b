//! What an adapter was trained for: the file beside it.

use std::path::Path;

use peft_data::{LabelMap, Task};
use peft_models::HeadKind;
use peft_train::{Objective, TokenClassification};
use serde::{Deserialize, Serialize};

use crate::{
    RunError,
    objective::{has_labels, head_kind, objective, outputs},
    sidecar,
};

/// Name of the file.
pub(crate) const NAME: &str = "task.json";

/// The task of an adapter, in `task.json` beside it.
///
/// PEFT's own files have no place for the names of labels; other tools pass over this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Classification, regression, several labels a row or one a word.
    pub task: Task,
    /// Names of the labels, by number; empty for a regression.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Longest sequence in training; longer ones are cut.
    pub max_length: usize,
}

impl TaskFile {
    /// The head that it needs of a model.
    pub fn head(&self) -> HeadKind {
        head_kind(self.objective().as_ref())
    }

    /// Outputs of a head that scores sequences or words; 0 for any other.
    pub fn outputs(&self) -> usize {
        outputs(self.head())
    }

    /// What it means to the loop.
    pub fn objective(&self) -> Box<dyn Objective> {
        match self.task {
            Task::TokenClassify => Box::new(TokenClassification::new(self.labels.clone())),
            task => objective(task, self.labels.len()),
        }
    }

    /// The labels as the data knows them.
    ///
    /// # Errors
    /// If a name is there twice.
    pub fn label_map(&self) -> Result<Option<LabelMap>, RunError> {
        match has_labels(self.task) {
            true => Ok(Some(LabelMap::from_names(self.labels.clone())?)),
            false => Ok(None),
        }
    }

    /// Read the file of an adapter folder; `None` where there is none.
    ///
    /// # Errors
    /// If it is broken.
    pub fn read(folder: &Path) -> Result<Option<Self>, RunError> {
        sidecar::read(folder, NAME)
    }

    /// Write the file into an adapter folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        sidecar::write(folder, NAME, self)
    }
}
