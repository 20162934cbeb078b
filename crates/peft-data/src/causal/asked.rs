//! Conversations of rows that a model is to go on with.

use super::convert::Converter;
use super::json::is_list_of_turns;
use super::options::CausalOptions;
use crate::chat::Conversation;
use crate::error::DataError;
use crate::reader::Row;

/// Columns of conversations, in order of preference.
const COLUMNS: [&str; 4] = ["messages", "conversations", "conversation", "prompt"];

impl Conversation {
    /// The column of a row that holds a conversation, if there is one. The row's reader must
    /// [keep](crate::RowReader::keep_nested) what is nested.
    pub fn column_of(row: &Row) -> Option<&'static str> {
        let holds = |column: &&str| row.get(column).is_some_and(is_list_of_turns);
        COLUMNS.into_iter().find(holds)
    }

    /// Whether a column of a row holds a conversation.
    pub fn is_in(row: &Row, column: &str) -> bool {
        row.get(column).is_some_and(is_list_of_turns)
    }

    /// The conversation of a column, with the `system`, `tools`, `documents` and `chat_template_kwargs` beside it,
    /// for a model to go on with: an answer that the row itself ends in is left out.
    ///
    /// # Errors
    /// If turns are not what they should be, or nobody but an assistant speaks; the error names row and column.
    pub fn to_go_on(row: &Row, column: &str, file: &str) -> Result<Self, DataError> {
        let options = CausalOptions::default();
        let converter = Converter {
            options: &options,
            file,
        };
        let turns = converter.turns(row, column)?;
        let (mut conversation, _) = converter.talk(row, turns)?;
        let messages = &mut conversation.messages;
        while messages
            .last()
            .is_some_and(|last| last.role() == "assistant")
        {
            messages.pop();
        }
        match messages.is_empty() {
            false => Ok(conversation),
            true => Err(DataError::Malformed {
                at: row.location(file).column(column),
                problem: "nobody says anything that could be answered".to_owned(),
                fix: "correct or remove the row",
            }),
        }
    }
}
