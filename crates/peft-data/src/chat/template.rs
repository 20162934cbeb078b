//! One model's chat template.

use super::clock::Clock;
use super::environment::environment;
use super::generation::{Rewritten, rewrite};
use super::message::{Conversation, Message, Problem};
use crate::error::{DataError, shorten};
use crate::tokenizer::TextTokenizer;
use minijinja::value::Serde;
use minijinja::{Environment, Error};
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Largest template accepted; the largest of the field has about 30 kB.
pub(super) const MAX_BYTES: usize = 1 << 20;
pub(super) const DEFAULT: &str = "default";
/// The template for conversations with tools, where a model has its own.
const TOOL_USE: &str = "tool_use";
const ANOTHER: &str = "give another template file";

/// How a model wants conversations written: a Jinja template with the environment of transformers'
/// `apply_chat_template`.
///
/// What a template can do is bounded: it reads no files, and its time and memory are limited.
pub struct ChatTemplate {
    env: Environment<'static>,
    /// Names and blocks.
    templates: Vec<(String, Rewritten)>,
    /// The template that is always used, if one was chosen.
    chosen: Option<String>,
    /// Special tokens by role, and other values that every rendering gets.
    context: Map<String, Value>,
    source: PathBuf,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.templates.iter().map(|(name, _)| name).collect();
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Templates by name, of which there must be `default` or only one; `source` is for messages.
    ///
    /// # Errors
    /// [`DataError::Template`] for what is no Jinja template, for none at all and for one that is
    /// larger than a mebibyte.
    pub fn new<S: Into<String>>(
        source: &Path,
        templates: impl IntoIterator<Item = (S, String)>,
        clock: Clock,
    ) -> Result<Self, DataError> {
        let fault = |problem: String, fix| DataError::Template {
            path: source.to_owned(),
            problem,
            fix,
        };
        let invalid = |e: Error| fault(explain(&e), ANOTHER);
        let mut env = environment(clock).map_err(invalid)?;
        let mut all = Vec::new();
        for (name, text) in templates {
            let name: String = name.into();
            if text.len() > MAX_BYTES {
                return Err(fault(format!("larger than {MAX_BYTES} bytes"), ANOTHER));
            }
            // As Jinja reads it.
            let rewritten = rewrite(&text.replace("\r\n", "\n"));
            let text = rewritten.source.clone();
            env.add_template_owned(name.clone(), text)
                .map_err(invalid)?;
            all.push((name, rewritten));
        }
        let chosen = match all.as_slice() {
            [] => return Err(fault("no template".to_owned(), ANOTHER)),
            [(name, _)] => Some(name.clone()),
            several if several.iter().any(|(name, _)| name == DEFAULT) => None,
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name).collect();
                let problem = format!(
                    "no template called default among {}",
                    crate::error::list(&names)
                );
                return Err(fault(problem, "give one of them as a file of its own"));
            }
        };
        Ok(Self {
            env,
            templates: all,
            chosen,
            context: Map::new(),
            source: source.to_owned(),
        })
    }

    /// The same with the tokenizer's special tokens, which templates write (`eos_token` and so on).
    pub fn with_tokens_of(mut self, tokenizer: &TextTokenizer) -> Self {
        let tokens = tokenizer.special_tokens_by_role();
        let tokens = tokens.map(|(role, token)| (role.to_owned(), Value::from(token)));
        self.context.extend(tokens);
        self
    }

    /// The same with a value that every rendering gets.
    pub fn with_value(mut self, name: &str, value: Value) -> Self {
        self.context.insert(name.to_owned(), value);
        self
    }

    /// The same, always using the template of this name.
    ///
    /// # Errors
    /// [`DataError::Template`] if there is none of this name.
    pub fn named(mut self, name: &str) -> Result<Self, DataError> {
        if !self.names().any(|known| known == name) {
            let names: Vec<_> = self.names().collect();
            return Err(DataError::Template {
                problem: format!(
                    "no template called `{}` among {}",
                    shorten(name),
                    crate::error::list(&names)
                ),
                path: self.source,
                fix: "name one of these",
            });
        }
        self.chosen = Some(name.to_owned());
        Ok(self)
    }

    /// The names of the templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|(name, _)| name.as_str())
    }

    /// The file it came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Whether the template marks what the assistant says (`{% generation %}`).
    pub fn marks_answers(&self) -> bool {
        self.pick(&Value::Null)
            .is_some_and(|(_, t)| !t.blocks.is_empty())
    }

    /// The text of a conversation; `generation_prompt` adds the beginning of the assistant's next
    /// turn.
    ///
    /// # Errors
    /// [`DataError::Template`] if the template refuses the conversation, takes too much time or
    /// memory, or is wrong.
    pub fn render(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> Result<String, DataError> {
        let text = self.text(&conversation.messages, conversation, generation_prompt);
        text.map_err(|problem| DataError::Template {
            path: self.source.clone(),
            problem: problem.what,
            fix: problem.fix,
        })
    }

    pub(crate) fn text(
        &self,
        messages: &[Message],
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> Result<String, Problem> {
        let (name, _) = self.pick(&conversation.tools).ok_or_else(none)?;
        let context = self.context(messages, conversation, generation_prompt);
        let template = self.env.get_template(name).map_err(refused)?;
        template.render(context).map_err(refused)
    }

    /// The text with the places of what stands in each run of a generation block.
    pub(super) fn with_blocks(
        &self,
        conversation: &Conversation,
    ) -> Result<(String, Vec<Range<usize>>), Problem> {
        let (name, rewritten) = self.pick(&conversation.tools).ok_or_else(none)?;
        let context = self.context(&conversation.messages, conversation, false);
        let template = self.env.get_template(name).map_err(refused)?;
        let (text, spans) = template.render_with_spans(context).map_err(refused)?;
        let mut found: Vec<(usize, Range<usize>)> = Vec::new();
        for span in spans {
            let (from, to) = (span.source_range(), span.output_range());
            let block = rewritten.blocks.iter().position(|block| {
                span.name() == name && block.start <= from.start && from.end <= block.end
            });
            let Some(block) = block else { continue };
            match found.last_mut() {
                Some((last, range)) if *last == block && range.end == to.start => {
                    range.end = to.end
                }
                _ => found.push((block, to)),
            }
        }
        Ok((text, found.into_iter().map(|(_, range)| range).collect()))
    }

    /// The template for a conversation with such tools.
    pub(super) fn pick(&self, tools: &Value) -> Option<(&str, &Rewritten)> {
        let find = |name: &str| self.templates.iter().find(|(known, _)| known == name);
        let chosen = match &self.chosen {
            Some(name) => find(name),
            None if !tools.is_null() => find(TOOL_USE).or_else(|| find(DEFAULT)),
            None => find(DEFAULT),
        };
        chosen.map(|(name, rewritten)| (name.as_str(), rewritten))
    }

    fn context(
        &self,
        messages: &[Message],
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> minijinja::Value {
        let messages = messages.iter().map(|m| Value::Object(m.keys.clone()));
        let mut context = self.context.clone();
        context.extend(conversation.arguments.clone());
        for (name, value) in [
            ("messages", Value::Array(messages.collect())),
            ("tools", conversation.tools.clone()),
            ("documents", conversation.documents.clone()),
            ("add_generation_prompt", Value::Bool(generation_prompt)),
        ] {
            context.insert(name.to_owned(), value);
        }
        minijinja::Value::from(Serde(&context))
    }
}

fn none() -> Problem {
    Problem {
        what: "no template".to_owned(),
        fix: ANOTHER,
    }
}

fn refused(error: Error) -> Problem {
    Problem {
        what: format!(
            "the chat template refuses the conversation: {}",
            explain(&error)
        ),
        fix: "change the conversation to what the template expects, or give another template",
    }
}

fn explain(error: &Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})"));
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    // What a template says may be as long as it likes.
    format!("{}{}", shorten_more(&what), line.unwrap_or_default())
}

fn shorten_more(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
