//! How rows of a language model are made.

use crate::chat::ChatTemplate;
use crate::error::{DataError, shorten};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which tokens of a row are to be predicted. The first token of a row never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    /// All of them.
    All,
    /// What the assistant says in a conversation, each turn with the token that ends it.
    Assistant,
    /// The last of the assistant's turns only.
    Last,
    /// The completion of a prompt; in a conversation that comes as prompt and completion, what the
    /// assistant says in the completion.
    Completion,
}

impl FromStr for LossOn {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().as_str() {
            "all" => Ok(Self::All),
            "assistant" => Ok(Self::Assistant),
            "last" => Ok(Self::Last),
            "completion" => Ok(Self::Completion),
            _ => Err(DataError::Unsupported {
                what: format!("there is no loss on `{}`", shorten(name)),
                fix: "use all, assistant, last or completion",
            }),
        }
    }
}

/// What becomes of a row with more than [`LoadOptions::max_length`](crate::LoadOptions) tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is cut into several rows of at most that many tokens. A row begins with the last
    /// [`CausalOptions::overlap`] tokens of the one before, which are context there and not
    /// predicted again: every token but the very first is predicted once, whatever the length.
    Split,
    /// Its end is cut off.
    Truncate,
    /// It is left out.
    Drop,
}

impl FromStr for TooLong {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().as_str() {
            "split" => Ok(Self::Split),
            "truncate" => Ok(Self::Truncate),
            "drop" => Ok(Self::Drop),
            _ => Err(DataError::Unsupported {
                what: format!("there is no way with long rows called `{}`", shorten(name)),
                fix: "use split, truncate or drop",
            }),
        }
    }
}

/// What one text is in a file of plain text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SampleBy {
    /// The whole file. Lines are joined by one line feed each, however the file ends them; empty
    /// lines stay; there is none behind the last line.
    #[default]
    Document,
    /// What stands between empty (or blank) lines, which belong to no text.
    Paragraph,
    /// Each line; empty (or blank) lines are passed over.
    Line,
}

impl FromStr for SampleBy {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().as_str() {
            "document" => Ok(Self::Document),
            "paragraph" => Ok(Self::Paragraph),
            "line" => Ok(Self::Line),
            _ => Err(DataError::Unsupported {
                what: format!("a text cannot be a `{}`", shorten(name)),
                fix: "use document, paragraph or line",
            }),
        }
    }
}

/// How rows of a language model are made ([`Task::CausalLm`](crate::Task)).
#[derive(Debug, Clone, Copy)]
pub struct CausalOptions<'a> {
    /// Which tokens are to be predicted; if `None`, all of a text, the completion of a prompt, and
    /// of a conversation what the assistant says.
    pub loss_on: Option<LossOn>,
    /// What becomes of long rows; if `None`, texts from files of plain text are split and all
    /// others truncated.
    pub too_long: Option<TooLong>,
    /// Tokens that a row repeats from the one before it where a text is split, at least 1. The
    /// perplexity of a sliding window of `max_length` tokens and stride `s` is that of an overlap of
    /// `max_length - s`.
    pub overlap: usize,
    /// What one text is in a file of plain text.
    pub sample_by: SampleBy,
    /// Whether texts and completions end with the token that ends a text (`eos_token`), and this is
    /// to be predicted. It is appended by its id, unless the row ends with it already.
    /// Conversations end as their template says.
    pub append_eos: bool,
    /// How conversations become text.
    pub template: Option<&'a ChatTemplate>,
}

impl Default for CausalOptions<'_> {
    fn default() -> Self {
        Self {
            loss_on: None,
            too_long: None,
            overlap: 1,
            sample_by: SampleBy::default(),
            append_eos: true,
            template: None,
        }
    }
}
