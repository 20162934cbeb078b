//! What is predicted from a text.

use crate::error::{DataError, shorten};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

pub(crate) const TOKEN_CLASSIFICATION: &str =
    "for one label a word, use the setting `task` token-classify";

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
    /// One class of several for each word; rows are lists of words and of their labels, or CoNLL's lines.
    TokenClassify,
    /// The next token, from those before it.
    CausalLm,
}

impl Task {
    /// Hugging Face's name for it, `problem_type` in `config.json`; labels of words and
    /// language models have none.
    pub fn problem_type(self) -> Option<&'static str> {
        match self {
            Self::Classify => Some("single_label_classification"),
            Self::Regress => Some("regression"),
            Self::MultiLabel => Some("multi_label_classification"),
            Self::TokenClassify | Self::CausalLm => None,
        }
    }

    /// Whether rows have classes, whose names are known or learned.
    pub fn has_classes(self) -> bool {
        matches!(
            self,
            Self::Classify | Self::MultiLabel | Self::TokenClassify
        )
    }
}

impl FromStr for Task {
    type Err = DataError;

    /// Our names (`classify`, `regress`, `multi-label`, `token-classify`, `causal-lm`) and Hugging Face's.
    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().replace('_', "-").as_str() {
            "classify"
            | "classification"
            | "single-label-classification"
            | "text-classification"
            | "sequence-classification" => Ok(Self::Classify),
            "regress" | "regression" => Ok(Self::Regress),
            "multi-label" | "multilabel" | "multi-label-classification" => Ok(Self::MultiLabel),
            "causal-lm" | "causallm" | "clm" | "text-generation" | "language-modeling"
            | "language-modelling" | "sft" => Ok(Self::CausalLm),
            "token-classification" | "token-classify" | "token-cls" | "ner" | "pos" => {
                Ok(Self::TokenClassify)
            }
            _ => Err(DataError::Unsupported {
                what: format!("there is no task `{}`", shorten(name)),
                fix: "use classify, multi-label, regress, token-classify or causal-lm",
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
            let hf = task.problem_type().unwrap();
            assert_eq!(hf.parse::<Task>().unwrap(), task);
            let written = serde_json::to_value(task).unwrap();
            assert_eq!(written.as_str().unwrap().parse::<Task>().unwrap(), task);
        }
        for name in ["causal-lm", "CAUSAL_LM", "text-generation", "CausalLM"] {
            assert_eq!(name.parse::<Task>().unwrap(), Task::CausalLm);
        }
        assert_eq!(serde_json::to_value(Task::CausalLm).unwrap(), "causal-lm");
        for name in ["token-classify", "TOKEN_CLS", "token-classification", "ner"] {
            assert_eq!(name.parse::<Task>().unwrap(), Task::TokenClassify);
        }
        assert!("segment".parse::<Task>().is_err());
    }
}
