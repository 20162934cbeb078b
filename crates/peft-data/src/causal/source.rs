//! Rows of files to examples.

use super::convert::Converter;
use super::document::Documents;
use super::encode::Example;
use super::options::LossOn;
use super::shape::Shape;
use crate::chat::ChatTemplate;
use crate::columns::Columns;
use crate::error::{DataError, shorten};
use crate::format::Format;
use crate::load::LoadOptions;
use crate::reader::{Row, RowReader};

/// Reads examples.
pub(crate) struct Source<'a> {
    pub(crate) reader: RowReader,
    pub(crate) options: LoadOptions<'a>,
    shape: Option<Shape>,
    /// All columns of the first row, and those that are used.
    pub(crate) all_columns: Vec<String>,
    pub(crate) roles: Option<Columns>,
    pub(crate) roles_found: Speakers,
    /// Rows with nothing but blanks.
    pub(crate) empty_texts: usize,
    /// Rows that may still be read.
    left: usize,
    ended: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(mut reader: RowReader, options: &LoadOptions<'a>) -> Self {
        reader.keep_nested();
        let lines = reader.format() == Format::Text;
        Self {
            reader,
            options: options.clone(),
            shape: None,
            all_columns: Vec::new(),
            roles: None,
            roles_found: Speakers::default(),
            empty_texts: 0,
            // Of plain text the rows are limited that come out of it.
            left: options.limit.filter(|_| !lines).unwrap_or(usize::MAX),
            ended: false,
        }
    }

    /// Whether rows are lines of plain text.
    pub(crate) fn is_lines(&self) -> bool {
        self.reader.format() == Format::Text
    }

    /// What the rows are, in words.
    pub(crate) fn shape(&self) -> String {
        self.shape.as_ref().map_or(String::new(), Shape::describe)
    }

    /// Which tokens are predicted, in words.
    pub(crate) fn loss_on(&self) -> &'static str {
        let answers = match (&self.shape, self.options.causal.template) {
            (None | Some(Shape::Lines(_) | Shape::Text(_)), _) => return "all tokens",
            (Some(Shape::Completion { .. } | Shape::Alpaca { .. }), _) => "the completion",
            (Some(Shape::Turns(_)), _) => "what the assistant says",
        };
        match self.options.causal.loss_on {
            None => answers,
            Some(LossOn::All) => "all tokens",
            Some(LossOn::Assistant) => "what the assistant says",
            Some(LossOn::Last) => "the last answer",
            Some(LossOn::Completion) => "the completion",
        }
    }

    pub(crate) fn template(&self) -> Option<&'a ChatTemplate> {
        self.options.causal.template
    }

    /// The next example, or part of one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Example>, DataError> {
        while !self.ended {
            let row = match self.left {
                0 => None,
                _ => self.reader.next().transpose()?,
            };
            let Some(row) = row else {
                self.ended = true;
                return Ok(match &mut self.shape {
                    Some(Shape::Lines(documents)) => documents.finish(),
                    _ => None,
                });
            };
            self.left -= 1;
            if self.shape.is_none() {
                self.shape = Some(self.detect(&row)?);
            }
            if let Some(example) = self.example(&row)? {
                return Ok(Some(example));
            }
        }
        Ok(None)
    }

    fn detect(&mut self, row: &Row) -> Result<Shape, DataError> {
        let (o, file) = (&self.options, self.reader.file());
        self.all_columns = row.names().to_vec();
        let shape = match self.is_lines() {
            true => Shape::Lines(Documents::new(o.causal.sample_by, o.causal.append_eos)),
            false => Shape::of(row, &o.columns, file)?,
        };
        let columns = shape.columns();
        let mut used = columns.used();
        if let Some(choice) = &o.choice {
            choice.expect_in(row.names(), file)?;
            used.push(choice.column);
        }
        used.extend(shape.optional());
        self.reader.keep(&used);
        self.roles = Some(columns);
        Ok(shape)
    }

    fn example(&mut self, row: &Row) -> Result<Option<Example>, DataError> {
        let (o, file) = (&self.options, self.reader.file());
        let mut example = match &mut self.shape {
            None => None,
            Some(Shape::Lines(documents)) => {
                let text = row.text("text", file)?;
                return Ok(documents.line(text, (row.number(), row.line())));
            }
            Some(shape) => {
                let options = &o.causal;
                Converter { options, file }.example(shape, row)?
            }
        };
        self.empty_texts += usize::from(example.is_none());
        if let (Some(choice), Some(example)) = (&o.choice, &mut example) {
            example.choice = Some(choice.id(row, file)?);
        }
        if let Some(talk) = example.as_ref().and_then(|example| example.talk.as_ref()) {
            for message in &talk.conversation.messages {
                self.roles_found.add(message.role());
            }
        }
        Ok(example)
    }
}

/// Speakers and the number of their turns.
#[derive(Debug, Default)]
pub(crate) struct Speakers(pub(crate) Vec<(String, usize)>);

impl Speakers {
    /// A hostile file has as many speakers as turns.
    const MOST: usize = 32;

    fn add(&mut self, role: &str) {
        let known = self.0.len();
        let role = match self.0.iter().position(|(name, _)| name == role) {
            Some(at) => return self.0[at].1 += 1,
            None if known < Self::MOST => shorten(role),
            None => "others".to_owned(),
        };
        match self.0.iter().position(|(name, _)| *name == role) {
            Some(at) => self.0[at].1 += 1,
            None => self.0.push((role, 1)),
        }
    }
}
