//! What loading rows of a language model found.

use crate::chat::MaskKind;
use serde::Serialize;

/// What was lost of rows that were too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Rows whose end was cut off.
    pub rows: usize,
    /// Tokens cut off.
    pub tokens: usize,
    /// Answers (completions, turns of the assistant) of which a part was cut off.
    pub answers: usize,
    /// Answers of which nothing is left.
    pub lost_answers: usize,
}

/// What was found in rows of a language model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CausalReport {
    /// What the rows are: `text`, `prompt and completion`, `messages` and so on, with the columns.
    pub shape: String,
    /// Which tokens are predicted.
    pub loss_on: String,
    /// How answers were found in the text of conversations, with the number of these.
    pub found: Vec<(MaskKind, usize)>,
    /// Tokens kept.
    pub tokens: usize,
    /// Tokens to predict among them.
    pub targets: usize,
    /// What truncation took away.
    pub cut: Cut,
    /// Texts that were split into several rows.
    pub split_texts: usize,
    /// Rows left out because nothing is to be predicted in them.
    pub dropped_without_target: usize,
    /// Rows left out because all that is to be predicted in them lies beyond the maximum length.
    pub dropped_beyond_length: usize,
    /// Rows left out because they are too long.
    pub dropped_too_long: usize,
    /// Speakers of the conversations, with the number of their turns.
    pub roles: Vec<(String, usize)>,
}

impl CausalReport {
    /// Rows left out, for whatever cause.
    pub fn left_out(&self) -> usize {
        self.dropped_without_target + self.dropped_beyond_length + self.dropped_too_long
    }

    /// Why rows were left out, and how many each; `None` if all are there.
    pub fn left_out_because(&self) -> Option<String> {
        let causes = [
            (
                self.dropped_beyond_length,
                "what is to be predicted lies beyond the maximum length",
            ),
            (self.dropped_without_target, "nothing is to be predicted"),
            (self.dropped_too_long, "they are too long"),
        ];
        let causes: Vec<String> = causes
            .iter()
            .filter(|(rows, _)| *rows > 0)
            .map(|(rows, cause)| format!("{rows} because {cause}"))
            .collect();
        (!causes.is_empty()).then(|| causes.join("; "))
    }
}
