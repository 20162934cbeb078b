//! Which part of a rendered conversation the assistant says.

use super::message::{Conversation, Message, Problem};
use super::template::ChatTemplate;
use serde::Serialize;
use std::ops::Range;

/// Characters of the private use area, which stand around an answer to find it again.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';
/// Each answer is rendered twice for the difference of prefixes; this bounds the time.
const MAX_PREFIXES: usize = 256;

/// How the answers were found in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKind {
    /// The template marks them with `{% generation %}`.
    Generation,
    /// By characters put around each answer, which changed nothing else.
    Sentinels,
    /// By what each answer adds to the text before it.
    Prefixes,
}

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Bytes of the answers asked for, in order. A token that ends a turn may follow; it belongs to
    /// the answer and not to the range, unless the template says so.
    pub answers: Vec<Range<usize>>,
    /// How they were found; `None` if there are none.
    pub found: Option<MaskKind>,
}

impl ChatTemplate {
    /// The text of a conversation, and where in it the turns `wanted` are: numbers of the
    /// assistant's turns among all turns, ascending.
    ///
    /// # Errors
    /// A [`DataError::Template`](crate::DataError) if the template refuses the conversation, or if
    /// the answers cannot be told from the rest, with what to do.
    pub fn render_answers(
        &self,
        conversation: &Conversation,
        wanted: &[usize],
    ) -> Result<Rendered, crate::DataError> {
        let rendered = self.answers(conversation, wanted);
        rendered.map_err(|problem| crate::DataError::Template {
            path: self.source().to_owned(),
            problem: problem.what,
            fix: problem.fix,
        })
    }

    pub(crate) fn answers(
        &self,
        conversation: &Conversation,
        wanted: &[usize],
    ) -> Result<Rendered, Problem> {
        let tagged = self
            .pick(&conversation.tools)
            .is_some_and(|(_, t)| !t.blocks.is_empty());
        if tagged {
            let (text, blocks) = self.with_blocks(conversation)?;
            if let Some(answers) = of_turns(blocks, conversation, wanted) {
                return Ok(Rendered {
                    found: (!answers.is_empty()).then_some(MaskKind::Generation),
                    text,
                    answers,
                });
            }
        }
        let text = self.text(&conversation.messages, conversation, false)?;
        if wanted.is_empty() {
            return Ok(Rendered {
                text,
                answers: Vec::new(),
                found: None,
            });
        }
        // With the white space around an answer, and where the template takes that away, without.
        for inside in [false, true] {
            if let Some(answers) = self.sentinels(conversation, wanted, &text, inside) {
                return Ok(Rendered {
                    text,
                    answers,
                    found: Some(MaskKind::Sentinels),
                });
            }
        }
        if let Some(answers) = self.prefixes(conversation, wanted, &text) {
            return Ok(Rendered {
                text,
                answers,
                found: Some(MaskKind::Prefixes),
            });
        }
        Err(Problem {
            what: "the chat template changes what the assistant said, so that it cannot be told \
                   which part of the text is the answer"
                .to_owned(),
            fix: "predict the last answer only, or all of the text, or give a template that marks \
                  answers with {% generation %} and {% endgeneration %}",
        })
    }

    /// Renders with a character before and behind each answer.
    fn sentinels(
        &self,
        conversation: &Conversation,
        wanted: &[usize],
        text: &str,
        inside: bool,
    ) -> Option<Vec<Range<usize>>> {
        if text.contains([OPEN, CLOSE]) {
            return None;
        }
        let mut messages = conversation.messages.clone();
        for &turn in wanted {
            let message = messages.get_mut(turn)?;
            // Thoughts and calls are said too, and are not part of the content.
            if !message.is_plain() {
                return None;
            }
            let content = message.content()?;
            let core = if inside { content.trim() } else { content };
            let before = content.find(core)?;
            let marked = format!(
                "{}{OPEN}{core}{CLOSE}{}",
                &content[..before],
                &content[before + core.len()..]
            );
            *message = message.with_content(marked);
        }
        let marked = self.text(&messages, conversation, false).ok()?;
        let (mut plain, mut answers, mut open) = (String::new(), Vec::new(), None);
        for c in marked.chars() {
            match c {
                OPEN if open.is_none() => open = Some(plain.len()),
                CLOSE => answers.push(open.take()?..plain.len()),
                OPEN => return None,
                c => plain.push(c),
            }
        }
        let all = open.is_none() && answers.len() == wanted.len() && plain == text;
        all.then_some(answers)
    }

    /// What each answer adds to the text of the turns before it.
    fn prefixes(
        &self,
        conversation: &Conversation,
        wanted: &[usize],
        text: &str,
    ) -> Option<Vec<Range<usize>>> {
        if wanted.len() > MAX_PREFIXES {
            return None;
        }
        let length = |messages: &[Message], prompt| {
            let prefix = self.text(messages, conversation, prompt).ok()?;
            text.starts_with(&prefix).then_some(prefix.len())
        };
        let mut answers: Vec<Range<usize>> = Vec::new();
        for &turn in wanted {
            let from = length(conversation.messages.get(..turn)?, true)?;
            let to = length(conversation.messages.get(..=turn)?, false)?;
            let after = answers.last().map_or(0, |last| last.end);
            let silent = |turn: &Message| turn.content().is_none_or(|said| said.trim().is_empty());
            let nothing = from == to && !silent(&conversation.messages[turn]);
            if from < after || to < from || nothing {
                return None;
            }
            answers.push(from..to);
        }
        Some(answers)
    }
}

/// Those of the blocks that are the turns wanted; `None` if that cannot be said.
fn of_turns(
    blocks: Vec<Range<usize>>,
    conversation: &Conversation,
    wanted: &[usize],
) -> Option<Vec<Range<usize>>> {
    let turns = conversation.messages.iter().enumerate();
    let turns = turns.filter(|(_, message)| message.role() == "assistant");
    let turns: Vec<usize> = turns.map(|(turn, _)| turn).collect();
    if turns == wanted {
        return Some(blocks);
    }
    // Of some turns, each must have its block.
    (blocks.len() == turns.len()).then(|| {
        let found = turns.iter().zip(blocks);
        let found = found.filter(|(turn, _)| wanted.contains(turn));
        found.map(|(_, block)| block).collect()
    })
}
