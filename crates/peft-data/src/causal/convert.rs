//! One row to an example.

use super::encode::{Example, Talk};
use super::json::json;
use super::options::{CausalOptions, LossOn};
use super::shape::Shape;
use crate::chat::{Conversation, Message, Problem};
use crate::error::DataError;
use crate::reader::{Row, Value};
use serde_json::Value as Json;
use std::sync::Arc;

/// Rows of one file.
pub(crate) struct Converter<'a> {
    pub(crate) options: &'a CausalOptions<'a>,
    pub(crate) file: &'a str,
}

impl Converter<'_> {
    /// The example of a row; `None` for one with nothing but blanks.
    pub(crate) fn example(&self, shape: &Shape, row: &Row) -> Result<Option<Example>, DataError> {
        match shape {
            Shape::Lines(_) => Ok(None),
            Shape::Text(column) => self.text(row, column),
            Shape::Turns(column) => {
                let turns = self.turns(row, column)?;
                self.conversation(row, turns, 0)
            }
            Shape::Completion { prompt, completion } if shape.is_turns(row) => {
                let mut turns = self.turns_or(row, prompt, "user")?;
                let asked = turns.len();
                turns.extend(self.turns_or(row, completion, "assistant")?);
                self.conversation(row, turns, asked)
            }
            Shape::Completion { prompt, completion } => {
                let prompt = row.text(prompt, self.file)?;
                self.completion(row, prompt, row.text(completion, self.file)?)
            }
            Shape::Alpaca {
                instruction,
                output,
            } => self.alpaca(row, instruction, output),
        }
    }

    fn text(&self, row: &Row, column: &str) -> Result<Option<Example>, DataError> {
        if self.options.loss_on.is_some_and(|loss| loss != LossOn::All) {
            return Err(DataError::Unsupported {
                what: format!(
                    "{}: a text without prompt or speakers has no answer that could be predicted alone",
                    row.location(self.file).column(column)
                ),
                fix: "predict all of it, or name the columns of prompt and completion",
            });
        }
        let text = row.text(column, self.file)?;
        let place = (row.number(), row.line());
        let example = || Example::text(text.to_owned(), place, self.options.append_eos);
        Ok((!text.trim().is_empty()).then(example))
    }

    /// A prompt and its completion, one behind the other.
    fn completion(
        &self,
        row: &Row,
        prompt: &str,
        completion: &str,
    ) -> Result<Option<Example>, DataError> {
        if completion.trim().is_empty() {
            return Ok(None);
        }
        let place = (row.number(), row.line());
        let example = Example::text(
            format!("{prompt}{completion}"),
            place,
            self.options.append_eos,
        );
        let all = self.options.loss_on == Some(LossOn::All);
        let span = prompt.len()..example.text.len();
        Ok(Some(Example {
            spans: (!all).then(|| vec![span]),
            ..example
        }))
    }

    fn alpaca(
        &self,
        row: &Row,
        instruction: &str,
        output: &str,
    ) -> Result<Option<Example>, DataError> {
        let file = self.file;
        let optional = |name: &str| match row.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => row
                .text(name, file)
                .map(|text| Some(text.trim()).filter(|t| !t.is_empty())),
        };
        let (instruction, answer) = (row.text(instruction, file)?, row.text(output, file)?);
        let (input, system) = (optional("input")?, optional("system")?);
        let history =
            json(row, "history", file)?.filter(|h| h.as_array().is_none_or(|h| !h.is_empty()));
        if answer.trim().is_empty() {
            return Ok(None);
        }
        if self.options.template.is_some() {
            // As LLaMA-Factory takes these rows: instruction and input are what the user says.
            let mut turns = Vec::new();
            if let Some(history) = history {
                turns.extend(earlier(history).ok_or_else(|| {
                    let what = "expected earlier turns as a list of [question, answer]".to_owned();
                    let fix = "correct or remove the row";
                    self.wrong(row, "history", Problem { what, fix })
                })?);
            }
            let asked = match input {
                Some(input) => format!("{instruction}\n{input}"),
                None => instruction.to_owned(),
            };
            turns.push(Message::new("user", &asked));
            let before = turns.len();
            turns.push(Message::new("assistant", answer));
            return self.conversation(row, turns, before);
        }
        if history.is_some() {
            let what = "earlier turns need a chat template, and there is none".to_owned();
            let fix = "give a template, or remove the history";
            return Err(self.wrong(row, "history", Problem { what, fix }));
        }
        let prompt = stanford(instruction, input, system);
        self.completion(row, &prompt, answer)
    }

    fn turns_or(&self, row: &Row, column: &str, role: &str) -> Result<Vec<Message>, DataError> {
        match row.get(column) {
            Some(Value::Text(text))
                if !super::json::is_list_of_turns(&Value::Text(text.clone())) =>
            {
                Ok(vec![Message::new(role, text)])
            }
            _ => self.turns(row, column),
        }
    }

    /// The turns of a column.
    pub(super) fn turns(&self, row: &Row, column: &str) -> Result<Vec<Message>, DataError> {
        let wrong = |what: &str| {
            let (what, fix) = (what.to_owned(), "correct or remove the row");
            self.wrong(row, column, Problem { what, fix })
        };
        match json(row, column, self.file)? {
            Some(Json::Array(turns)) => turns
                .into_iter()
                .map(|turn| Message::read(turn).map_err(|p| self.wrong(row, column, p)))
                .collect(),
            Some(_) => Err(wrong("expected a list of turns, found another value")),
            None => Err(wrong("expected a list of turns, found nothing")),
        }
    }

    /// Turns, of which those before `asked` are a prompt's.
    fn conversation(
        &self,
        row: &Row,
        turns: Vec<Message>,
        mut asked: usize,
    ) -> Result<Option<Example>, DataError> {
        if self.options.template.is_none() {
            return Err(DataError::Unsupported {
                what: format!(
                    "{}: conversations need a chat template, and the model has none",
                    row.location(self.file)
                ),
                fix: "put one into its folder as chat_template.jinja, or give rows of prompt and completion as texts",
            });
        }
        let loss = match (self.options.loss_on, asked) {
            (Some(LossOn::Completion), 0) => {
                return Err(DataError::Unsupported {
                    what: format!(
                        "{}: a conversation without a prompt of its own has no completion",
                        row.location(self.file)
                    ),
                    fix: "predict what the assistant says, or its last turn",
                });
            }
            (Some(loss), _) => loss,
            (None, 0) => LossOn::Assistant,
            (None, _) => LossOn::Completion,
        };
        if turns.is_empty() {
            return Ok(None);
        }
        let (conversation, has_system) = self.talk(row, turns)?;
        asked += usize::from(asked > 0 && has_system);
        let answers = conversation.messages.iter().enumerate();
        let answers = answers.filter(|(_, turn)| turn.role() == "assistant");
        let mut wanted: Vec<usize> = answers.map(|(turn, _)| turn).collect();
        match loss {
            LossOn::All | LossOn::Assistant => {}
            LossOn::Last => drop(wanted.drain(..wanted.len().saturating_sub(1))),
            LossOn::Completion => wanted.retain(|turn| *turn >= asked),
        }
        Ok(Some(Example {
            begins: true,
            ends: true,
            turns: true,
            place: (row.number(), row.line()),
            talk: Some(Arc::new(Talk {
                conversation,
                wanted: (loss != LossOn::All).then_some(wanted),
            })),
            ..Example::default()
        }))
    }

    /// Turns with what a row says beside them, and whether that is a system's turn before all others.
    pub(super) fn talk(
        &self,
        row: &Row,
        mut turns: Vec<Message>,
    ) -> Result<(Conversation, bool), DataError> {
        let system = match row.get("system") {
            Some(Value::Text(system)) if !system.trim().is_empty() => Some(system),
            _ => None,
        };
        let leads = turns.first().is_some_and(|turn| turn.role() == "system");
        let system = system.filter(|_| !leads);
        if let Some(system) = system {
            turns.insert(0, Message::new("system", system));
        }
        let arguments = match json(row, "chat_template_kwargs", self.file)? {
            None => serde_json::Map::new(),
            Some(Json::Object(arguments)) => arguments,
            Some(_) => {
                let what = "expected an object of names and values".to_owned();
                let fix = "correct or remove the row";
                return Err(self.wrong(row, "chat_template_kwargs", Problem { what, fix }));
            }
        };
        let empty = |value: &Json| value.as_array().is_some_and(Vec::is_empty);
        let list = |column: &str| -> Result<Json, DataError> {
            let value = json(row, column, self.file)?.filter(|value| !empty(value));
            Ok(value.unwrap_or_default())
        };
        let conversation = Conversation {
            tools: list("tools")?,
            documents: list("documents")?,
            messages: turns,
            arguments,
        };
        Ok((conversation, system.is_some()))
    }

    fn wrong(&self, row: &Row, column: &str, problem: Problem) -> DataError {
        DataError::Malformed {
            at: row.location(self.file).column(column),
            problem: problem.what,
            fix: problem.fix,
        }
    }
}

/// Earlier turns as pairs of question and answer.
fn earlier(history: Json) -> Option<Vec<Message>> {
    let Json::Array(pairs) = history else {
        return None;
    };
    let mut turns = Vec::new();
    for pair in &pairs {
        let [question, answer] = pair.as_array()?.as_slice() else {
            return None;
        };
        turns.push(Message::new("user", question.as_str()?));
        turns.push(Message::new("assistant", answer.as_str()?));
    }
    Some(turns)
}

/// The prompt of Stanford's Alpaca, for models without a chat template.
fn stanford(instruction: &str, input: Option<&str>, system: Option<&str>) -> String {
    let usual = match input {
        Some(_) => {
            "Below is an instruction that describes a task, paired with an input that provides \
             further context. Write a response that appropriately completes the request."
        }
        None => {
            "Below is an instruction that describes a task. Write a response that appropriately \
             completes the request."
        }
    };
    let input = input.map_or(String::new(), |input| format!("### Input:\n{input}\n\n"));
    let system = system.unwrap_or(usual);
    format!("{system}\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n")
}
