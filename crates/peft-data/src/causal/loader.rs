//! A file to rows of a language model, chunk by chunk.

use super::encode::{Encoded, Example, encode};
use super::options::TooLong;
use super::report::CausalReport;
use super::rows::{First, Limits, Rows};
use super::source::Source;
use crate::columns::Columns;
use crate::dataset::Dataset;
use crate::error::{DataError, Location};
use crate::load::LoadOptions;
use crate::reader::RowReader;
use crate::report::{LengthCounts, LoadReport};
use crate::threads::on_all_cores;
use crate::tokenizer::TextTokenizer;

/// Examples tokenized at a time.
const CHUNK_EXAMPLES: usize = 1024;
/// Text held at a time, in bytes: enough for all threads; its tokens take several times that.
const CHUNK_BYTES: usize = 2 << 20;
/// Shortest text, in bytes, and fewest examples, for which threads are worth their start.
const PARALLEL_BYTES: usize = 32 << 10;
const PARALLEL_FROM: usize = 2;

/// Reads, tokenizes and cuts.
pub(crate) struct Loader<'a> {
    source: Source<'a>,
    tokenizer: &'a TextTokenizer,
    rows: Rows,
    waiting: Vec<Example>,
    bytes: usize,
    ended: bool,
}

impl<'a> Loader<'a> {
    /// `preview` is the number of first rows that are kept for a look, and then nothing else is.
    pub(crate) fn new(
        reader: RowReader,
        options: &LoadOptions<'a>,
        tokenizer: &'a TextTokenizer,
        preview: Option<usize>,
    ) -> Result<Self, DataError> {
        let (max_length, special) = (options.max_length, tokenizer.special_tokens(false));
        if max_length <= special {
            return Err(DataError::MaxLength {
                max_length,
                special,
            });
        }
        if max_length < 2 {
            return Err(DataError::Unsupported {
                what: "a row of one token has nothing to predict".to_owned(),
                fix: "allow rows of at least 2 tokens",
            });
        }
        let source = Source::new(reader, options);
        let usual = match source.is_lines() {
            true => TooLong::Split,
            false => TooLong::Truncate,
        };
        let causal = &options.causal;
        let limits = Limits {
            max_length,
            overlap: causal.overlap.clamp(1, max_length - 1),
            too_long: causal.too_long.unwrap_or(usual),
            labelled: options.require_labels,
            spill: options.spill,
            first: preview.unwrap_or(0),
            counting: preview.is_some(),
            rows: options.limit.unwrap_or(usize::MAX),
        };
        Ok(Self {
            rows: Rows::new(limits, source.reader.file()),
            source,
            tokenizer,
            waiting: Vec::new(),
            bytes: 0,
            ended: false,
        })
    }

    /// Reads until there are as many new rows or tokens, or no more.
    pub(crate) fn fill(&mut self, rows: usize, tokens: usize) -> Result<(), DataError> {
        while !self.ended && self.rows.new_rows() < rows && self.rows.new_tokens() < tokens {
            let next = match self.rows.full() {
                true => None,
                false => self.source.next()?,
            };
            self.ended = next.is_none();
            if let Some(example) = next {
                self.bytes += example.size();
                self.waiting.push(example);
            }
            // A part shall not be larger than asked for by a whole chunk.
            let wanted = CHUNK_EXAMPLES.min(rows.saturating_sub(self.rows.new_rows()));
            if self.ended || self.waiting.len() >= wanted || self.bytes >= CHUNK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let from = match self.bytes {
            0..PARALLEL_BYTES => usize::MAX,
            _ => PARALLEL_FROM,
        };
        let (template, file) = (self.source.template(), self.source.reader.file());
        let run = |example: &Example| encode(example, self.tokenizer, template, file);
        let encoded: Vec<Encoded> = on_all_cores(&self.waiting, from, run)?;
        let known = self.source.options.vocab_size;
        for (example, encoded) in self.waiting.drain(..).zip(encoded) {
            let (row, line) = example.place;
            let at = || Location {
                file: self.source.reader.file().to_owned(),
                row,
                line,
                column: None,
            };
            self.tokenizer.expect_known(&encoded.ids, known, at)?;
            self.rows.add(&example, encoded)?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// The rows since this was asked for last; `None` if there are none.
    pub(crate) fn take(&mut self) -> Result<Option<Dataset>, DataError> {
        self.rows.take()
    }

    /// From now on, keeps which rows of the file rows are from. A plain text has none.
    pub(crate) fn keep_numbers(&mut self) {
        if !self.source.is_lines() {
            self.rows.keep_numbers();
        }
    }

    /// Those of the rows since this was asked for last, from 1.
    pub(crate) fn take_numbers(&mut self) -> Vec<u64> {
        self.rows.take_numbers()
    }

    /// Whether there are no more rows to read.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the file has no rows beyond those read.
    pub(crate) fn complete(&mut self) -> bool {
        let cut = self.source.is_lines() && self.rows.full();
        self.ended && !cut && self.source.reader.next().is_none()
    }

    pub(crate) fn file(&self) -> &str {
        self.source.reader.file()
    }

    /// Why there are no rows at all.
    pub(crate) fn nothing(&self) -> DataError {
        let report = &self.rows.report;
        let dropped = report.left_out();
        let (file, empty) = (self.file().to_owned(), self.source.empty_texts);
        if dropped + empty == 0 {
            return DataError::Empty { file };
        }
        DataError::Format {
            problem: format!(
                "no row is left: {} have nothing to predict, {} are too long for {} tokens, {empty} are empty",
                report.dropped_without_target,
                report.dropped_too_long + report.dropped_beyond_length,
                self.source.options.max_length
            ),
            file,
            fix: "allow longer rows, or predict other parts of them",
        }
    }

    /// Which share of the file has been read.
    pub(crate) fn share_read(&self) -> Option<f64> {
        self.source.reader.share_read()
    }

    /// What was found so far.
    pub(crate) fn report(&self) -> LoadReport {
        LoadReport {
            empty_texts: self.source.empty_texts,
            causal: Some(CausalReport {
                shape: self.source.shape(),
                loss_on: self.source.loss_on().to_owned(),
                roles: self.source.roles_found.0.clone(),
                ..self.rows.report.clone()
            }),
            ..self.rows.counts.report()
        }
    }

    /// Lengths before anything is cut off.
    pub(crate) fn whole(&self) -> &LengthCounts {
        &self.rows.counts.whole
    }

    pub(crate) fn first(&mut self) -> Vec<First> {
        std::mem::take(&mut self.rows.first)
    }

    pub(crate) fn columns(&self) -> (&[String], Option<&Columns>) {
        (&self.source.all_columns, self.source.roles.as_ref())
    }
}
