//! A look at rows of a language model: which tokens are predicted.

use super::loader::Loader;
use super::rows::First;
use crate::error::{DataError, shorten};
use crate::load::LoadOptions;
use crate::preview::{Preview, PreviewLengths, PreviewRow, SHOWN_TOKENS};
use crate::tokenizer::TextTokenizer;
use serde::Serialize;
use std::fmt::Write;

/// Consecutive tokens of a row that are all predicted, or all not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewSpan {
    /// Their text.
    pub text: String,
    /// How many they are.
    pub tokens: usize,
    /// Whether they are predicted.
    pub trained: bool,
}

/// What stands around what is predicted, and around the rest, where a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Before and behind what is predicted.
    pub trained: (&'static str, &'static str),
    /// Before and behind the rest.
    pub context: (&'static str, &'static str),
}

impl Marks {
    /// Double brackets around what is predicted.
    pub const PLAIN: Self = Self {
        trained: ("[[", "]]"),
        context: ("", ""),
    };
    /// For terminals: what is predicted in green, the rest dimmed.
    pub const ANSI: Self = Self {
        trained: ("\x1b[32m", "\x1b[0m"),
        context: ("\x1b[2m", "\x1b[0m"),
    };
}

impl PreviewRow {
    /// The row with marks around what is predicted of it. Control characters of the data, which
    /// could play tricks on a terminal, are written as escapes; line feeds and tabs stay.
    pub fn marked(&self, marks: &Marks) -> String {
        let mut out = String::new();
        for span in &self.spans {
            let (before, behind) = match span.trained {
                true => marks.trained,
                false => marks.context,
            };
            out.push_str(before);
            for c in span.text.chars() {
                match c.is_control() && c != '\n' && c != '\t' {
                    // Writing to a string does not fail.
                    true => drop(write!(out, "{}", c.escape_default())),
                    false => out.push(c),
                }
            }
            out.push_str(behind);
        }
        out
    }
}

impl Preview {
    /// Of rows of a language model.
    pub(crate) fn causal(
        mut loader: Loader<'_>,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
    ) -> Result<Self, DataError> {
        loader.fill(usize::MAX, usize::MAX)?;
        let report = loader.report();
        if report.rows == 0 {
            return Err(loader.nothing());
        }
        let first = loader.first().into_iter();
        let first: Result<_, _> = first.map(|row| shown(row, tokenizer)).collect();
        let (columns, roles) = loader.columns();
        Ok(Self {
            columns: columns.to_vec(),
            roles: roles.cloned().ok_or_else(|| loader.nothing())?,
            rows: report.rows,
            complete: loader.complete(),
            first: first?,
            max_length: options.max_length,
            truncated_rows: report.truncated_rows,
            truncated_share: report.truncated_rows as f64 / report.rows as f64,
            truncated_tokens: report.truncated_tokens,
            lengths: PreviewLengths::of(loader.whole()),
            empty_texts: report.empty_texts,
            label_counts: Vec::new(),
            targets: None,
            file: loader.file().to_owned(),
            causal: report.causal,
        })
    }
}

fn shown(row: First, tokenizer: &TextTokenizer) -> Result<PreviewRow, DataError> {
    let text = tokenizer.decode(&row.ids, false)?;
    let tokens = row.ids.iter().take(SHOWN_TOKENS);
    Ok(PreviewRow {
        row: row.number,
        text: shorten(&text),
        text_pair: None,
        tokens: tokens.map(|&id| tokenizer.token(id)).collect(),
        length: row.ids.len(),
        truncated_tokens: row.truncated,
        spans: spans(&row, tokenizer)?,
    })
}

/// The row's text by stretches of equal flags.
fn spans(row: &First, tokenizer: &TextTokenizer) -> Result<Vec<PreviewSpan>, DataError> {
    let mut spans: Vec<PreviewSpan> = Vec::new();
    let mut stream = tokenizer.decode_stream(false);
    for (&id, &trained) in row.ids.iter().zip(&row.trained) {
        if spans.last().is_none_or(|span| span.trained != trained) {
            spans.push(PreviewSpan {
                text: String::new(),
                tokens: 0,
                trained,
            });
        }
        let text = stream.push(id)?;
        if let Some(span) = spans.last_mut() {
            span.text.push_str(&text);
            span.tokens += 1;
        }
    }
    let rest = stream.finish()?;
    if let Some(span) = spans.last_mut() {
        span.text.push_str(&rest);
    }
    Ok(spans)
}
