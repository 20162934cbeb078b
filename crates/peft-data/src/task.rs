//! What is predicted from a text.

use crate::error::{DataError, shorten};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

pub(crate) const TOKEN_CLASSIFICATION: &str =
    "token classification (one label a word) is not supported yet";

/// The kind of prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One class of several; labels are names or numbers.
    Classify,
    /// One finite number.
    Regress,
    /// Any number of labels at once, each true or false.
    MultiLabel,
}

impl Task {
    /// Hugging Face's name for it, `problem_type` in `config.json`.
    pub fn problem_type(self) -> &'static str {
        match self {
            Self::Classify => "single_label_classification",
            Self::Regress => "regression",
            Self::MultiLabel => "multi_label_classification",
        }
    }
}

impl FromStr for Task {
    type Err = DataError;

    /// Our names (`classify`, `regress`, `multi-label`) and Hugging Face's.
    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().replace('_', "-").as_str() {
            "classify"
            | "classification"
            | "single-label-classification"
            | "text-classification"
            | "sequence-classification" => Ok(Self::Classify),
            "regress" | "regression" => Ok(Self::Regress),
            "multi-label" | "multilabel" | "multi-label-classification" => Ok(Self::MultiLabel),
            "token-classification" | "token-classify" | "token-cls" | "ner" | "pos" => {
                Err(DataError::Unsupported {
                    what: TOKEN_CLASSIFICATION.to_owned(),
                    fix: "use --task classify, multi-label or regress on whole texts",
                })
            }
            _ => Err(DataError::Unsupported {
                what: format!("there is no task `{}`", shorten(name)),
                fix: "use classify, multi-label or regress",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_and_hugging_faces() {
        for task in [Task::Classify, Task::Regress, Task::MultiLabel] {
            assert_eq!(task.problem_type().parse::<Task>().unwrap(), task);
            let written = serde_json::to_value(task).unwrap();
            assert_eq!(written.as_str().unwrap().parse::<Task>().unwrap(), task);
        }
        let error = "token-classification".parse::<Task>().unwrap_err();
        assert!(error.to_string().contains("not supported yet"), "{error}");
        assert!("segment".parse::<Task>().is_err());
    }
}
