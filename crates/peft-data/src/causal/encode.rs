//! One example to tokens and flags.

use crate::chat::{ChatTemplate, Conversation, MaskKind, Rendered};
use crate::error::{DataError, Location};
use crate::tokenizer::TextTokenizer;
use std::ops::Range;
use std::sync::Arc;

/// A text, or a part of one, on its way to tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Example {
    pub(crate) text: String,
    /// Bytes of the text that are to be predicted, in order and apart; all if `None`.
    pub(crate) spans: Option<Vec<Range<usize>>>,
    /// Whether the tokenizer's own special tokens are added. Chat templates write theirs.
    pub(crate) special: bool,
    /// Whether the token that ends a text follows.
    pub(crate) end: bool,
    /// Whether tokens that end a turn belong to the span before them.
    pub(crate) turns: bool,
    /// Whether the text begins, and ends, with this example: a long document comes in parts.
    pub(crate) begins: bool,
    pub(crate) ends: bool,
    /// Row and line.
    pub(crate) place: (u64, u64),
    /// The number of the name that the row chose.
    pub(crate) choice: Option<u32>,
    /// The conversation that is to become the text.
    pub(crate) talk: Option<Arc<Talk>>,
}

/// A conversation, and which of its turns are to be predicted: all of the text if `None`.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) conversation: Conversation,
    pub(crate) wanted: Option<Vec<usize>>,
}

impl Example {
    /// A whole text, of which everything is predicted.
    pub(crate) fn text(text: String, place: (u64, u64), end: bool) -> Self {
        Self {
            text,
            special: true,
            end,
            begins: true,
            ends: true,
            place,
            ..Self::default()
        }
    }
}

impl Example {
    /// About as many bytes as its text will have.
    pub(crate) fn size(&self) -> usize {
        let turns = self
            .talk
            .iter()
            .flat_map(|talk| &talk.conversation.messages);
        let said: usize = turns
            .map(|turn| 32 + turn.content().map_or(0, str::len))
            .sum();
        self.text.len() + said
    }
}

/// Tokens of an example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    /// Tokens of each answer, in order; `None` if all tokens are predicted.
    pub(crate) answers: Option<Vec<Range<usize>>>,
    /// How the answers of a conversation were found.
    pub(crate) found: Option<MaskKind>,
}

impl Encoded {
    /// Whether each token is to be predicted, the first one included.
    pub(crate) fn flags(&self) -> Vec<bool> {
        let Some(answers) = &self.answers else {
            return vec![true; self.ids.len()];
        };
        let mut flags = vec![false; self.ids.len()];
        for answer in answers {
            flags[answer.clone()].fill(true);
        }
        flags
    }
}

/// Tokenizes an example; `file` is for messages.
pub(crate) fn encode(
    example: &Example,
    tokenizer: &TextTokenizer,
    template: Option<&ChatTemplate>,
    file: &str,
) -> Result<Encoded, DataError> {
    if let (Some(talk), Some(template)) = (&example.talk, template) {
        let conversation = &talk.conversation;
        let rendered = match &talk.wanted {
            Some(wanted) => template.answers(conversation, wanted),
            None => template
                .text(&conversation.messages, conversation, false)
                .map(|text| Rendered {
                    text,
                    answers: Vec::new(),
                    found: None,
                }),
        };
        let rendered = rendered.map_err(|problem| DataError::Malformed {
            at: Location {
                file: file.to_owned(),
                row: example.place.0,
                line: example.place.1,
                column: None,
            },
            problem: problem.what,
            fix: problem.fix,
        })?;
        let example = Example {
            text: rendered.text,
            spans: talk.wanted.is_some().then_some(rendered.answers),
            talk: None,
            ..example.clone()
        };
        let encoded = text(&example, tokenizer, rendered.found)?;
        return Ok(Encoded {
            found: rendered.found,
            ..encoded
        });
    }
    text(example, tokenizer, None)
}

fn text(
    example: &Example,
    tokenizer: &TextTokenizer,
    found: Option<MaskKind>,
) -> Result<Encoded, DataError> {
    let mut encoded = match &example.spans {
        None if example.begins && example.ends => Encoded {
            ids: tokenizer.encode_whole(&example.text, example.special)?,
            answers: None,
            found: None,
        },
        None => Encoded {
            ids: part(example, tokenizer)?,
            answers: None,
            found: None,
        },
        Some(spans) => spanned(example, spans, tokenizer, found)?,
    };
    if example.end
        && let Some(eos) = tokenizer.eos_id()
        && encoded.ids.last() != Some(&eos)
    {
        encoded.ids.push(eos);
        if let Some(answers) = &mut encoded.answers
            && example
                .spans
                .as_ref()
                .and_then(|spans| spans.last())
                .map(|s| s.end)
                == Some(example.text.len())
        {
            let end = encoded.ids.len();
            match answers.last_mut() {
                Some(last) => *last = last.start.min(end - 1)..end,
                None => answers.push(end - 1..end),
            }
        }
    }
    Ok(encoded)
}

fn spanned(
    example: &Example,
    spans: &[Range<usize>],
    tokenizer: &TextTokenizer,
    found: Option<MaskKind>,
) -> Result<Encoded, DataError> {
    let tokens = tokenizer.encode_spanned(&example.text, example.special)?;
    let mut answers = tokens.tokens_of(spans);
    let reaches_end = spans.last().map(|span| span.end) == Some(example.text.len());
    if let Some(last) = answers.last_mut()
        && reaches_end
    {
        // Special tokens that the tokenizer adds behind the text.
        let added = tokens
            .places
            .iter()
            .rev()
            .take_while(|p| p.is_none())
            .count();
        if last.end + added == tokens.ids.len() {
            last.end = tokens.ids.len();
        }
    }
    if example.turns {
        let ends = tokenizer.turn_end_ids();
        for answer in &mut answers {
            if found == Some(MaskKind::Prefixes) {
                // What a turn adds includes a line feed behind its end, which nobody shall learn.
                let blank = |at: usize| {
                    let place = tokens.places[at].clone();
                    place.is_some_and(|p| example.text[p].trim().is_empty())
                };
                let end = answer
                    .clone()
                    .rposition(|at| ends.contains(&tokens.ids[at]));
                let end = end.map_or(answer.end, |end| answer.start + end + 1);
                if (end..answer.end).all(blank) {
                    answer.end = end;
                }
            }
            let next = tokens.ids.get(answer.end);
            // A turn that contains its end already is not given the one of the next.
            let ended = answer.start < answer.end && ends.contains(&tokens.ids[answer.end - 1]);
            if !ended && next.is_some_and(|id| ends.contains(id)) {
                answer.end += 1;
            }
        }
    }
    Ok(Encoded {
        ids: tokens.ids,
        answers: Some(answers),
        found: None,
    })
}

/// A part of a document. What follows the first part is tokenized behind the line feed that ends
/// the part before, so that the tokenizer takes it for the middle of a text and not for another
/// beginning (SentencePiece puts a space there).
fn part(example: &Example, tokenizer: &TextTokenizer) -> Result<Vec<u32>, DataError> {
    if example.begins {
        let mut ids = tokenizer.encode_whole(&example.text, true)?;
        // Special tokens behind the text belong behind the last part.
        let plain = tokenizer.encode_whole(&example.text, false)?;
        if ids.len() > plain.len()
            && let Some(at) = ids.windows(plain.len().max(1)).position(|w| w == plain)
        {
            ids.truncate(at + plain.len());
        }
        return Ok(ids);
    }
    let text = format!("\n{}", example.text);
    let tokens = tokenizer.encode_spanned(&text, false)?;
    let before = tokens
        .places
        .iter()
        .take_while(|place| place.as_ref().is_some_and(|p| p.end <= 1))
        .count();
    let clean = tokens
        .places
        .get(before)
        .is_none_or(|place| place.as_ref().is_some_and(|p| p.start >= 1));
    match clean {
        true => Ok(tokens.ids[before..].to_vec()),
        // A tokenizer that joins the line feed with what follows.
        false => tokenizer.encode_whole(&example.text, false),
    }
}
