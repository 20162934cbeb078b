//! What a study of language models is made of: its model and its rows, and how the report calls them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::definition::Study;
use crate::fetch;

/// Rows of a study.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// Word problems with worked answers.
    #[default]
    WordProblems,
    /// Pieces of source files with the kinds of the files, a token each.
    FileTypes,
}

impl Data {
    /// How many rows select.
    pub const fn selection(self) -> usize {
        match self {
            Self::WordProblems => 80,
            Self::FileTypes => 96,
        }
    }

    /// What the report says of the rows.
    pub const fn words(self) -> &'static str {
        match self {
            Self::WordProblems => {
                "word problems of `peft quickstart --causal`, as prompts with completions; 400 to fit, 80 to select, 200 of another \
                 part to report, which choose nothing"
            }
            Self::FileTypes => {
                "pieces of about 100 bytes of source files of six kinds (CSS, C++, HTML, JavaScript, gettext, Python), as prompts with a \
                 letter for the kind; 384 to fit, 96 to select, 192 of other files to report, which choose nothing. A row is answered with the letter of \
                 the lowest loss"
            }
        }
    }
}

impl Study {
    /// What results call the model: two with the same name have the same weights.
    pub fn model_name(&self) -> Result<String> {
        let Some(pretrained) = self.model else {
            return Ok(fetch::smollm2::folder_name(self.blocks));
        };
        let weights = pretrained.folder().join("model.safetensors");
        let digest = peft_hub::sha256_of(&weights)?.with_context(|| {
            let name = pretrained.name();
            format!(
                "there is no {}: `cargo xtask pretrain {name}` makes it",
                weights.display()
            )
        })?;
        Ok(format!("{} {}", pretrained.name(), &digest[..16]))
    }

    /// The model's folder; one of SmolLM2 is made where it is not in the cache, if `made` says so.
    pub fn model_folder(&self, cache: &Path, made: bool) -> Result<PathBuf> {
        match self.model {
            Some(pretrained) => {
                ensure!(
                    self.blocks.is_none(),
                    "`blocks` are of SmolLM2, not of `model`"
                );
                Ok(pretrained.folder())
            }
            None if made => fetch::smollm2::folder(cache, self.blocks),
            None => Ok(cache.join(fetch::smollm2::folder_name(self.blocks))),
        }
    }

    /// What the report says of the model.
    pub fn model_words(&self) -> String {
        match (self.model, self.blocks) {
            (Some(pretrained), _) => format!(
                "the [pretrained {}](../../../tests/pretrained/{}/README.md) of this repository, in f32",
                pretrained.title(),
                pretrained.name()
            ),
            (None, Some(blocks)) => format!(
                "the first {blocks} of 30 blocks of SmolLM2-135M-Instruct, decoded from its Q4_1 file into f32 and frozen"
            ),
            (None, None) => {
                "SmolLM2-135M-Instruct, decoded from its Q4_1 file into f32 and frozen".to_owned()
            }
        }
    }
}
