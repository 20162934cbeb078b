//! A look at a file before training on it.

use crate::builder::{Builder, First};
use crate::causal::{CausalReport, Loader, PreviewSpan};
use crate::columns::Columns;
use crate::error::{DataError, shorten};
use crate::load::{LoadOptions, Source, named_counts};
use crate::reader::RowReader;
use crate::report::{Bin, LengthCounts};
use crate::task::Task;
use crate::tokenizer::TextTokenizer;
use serde::Serialize;
use std::path::Path;

/// Tokens shown of a row.
pub(crate) const SHOWN_TOKENS: usize = 64;

/// What a file holds, as training would see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The file.
    pub file: String,
    /// All columns of the first row.
    pub columns: Vec<String>,
    /// The columns that are used, and for what.
    pub roles: Columns,
    /// Rows that were read.
    pub rows: usize,
    /// Whether there are no others: [`LoadOptions::limit`] may have cut the file short.
    pub complete: bool,
    /// The first of them.
    pub first: Vec<PreviewRow>,
    /// Most tokens a row may have.
    pub max_length: usize,
    /// Rows that are longer, and are cut.
    pub truncated_rows: usize,
    /// Their share of all rows.
    pub truncated_share: f64,
    /// Tokens cut off.
    pub truncated_tokens: usize,
    /// Lengths before anything is cut.
    pub lengths: PreviewLengths,
    /// Rows whose text, or one of the pair, is empty or blank.
    pub empty_texts: usize,
    /// Rows with each label; empty without labels and for numbers.
    pub label_counts: Vec<(String, usize)>,
    /// The numbers to predict, for regression.
    pub targets: Option<PreviewTargets>,
    /// What was found in rows of a language model; `None` for other tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causal: Option<CausalReport>,
}

/// A row and its tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewRow {
    /// Number of the row, from 1.
    pub row: u64,
    /// The beginning of the text.
    pub text: String,
    /// The beginning of its pair.
    pub text_pair: Option<String>,
    /// The first tokens, special ones included, as the vocabulary writes them.
    pub tokens: Vec<String>,
    /// Number of tokens after truncation.
    pub length: usize,
    /// Tokens cut off.
    pub truncated_tokens: usize,
    /// The whole row by what is predicted of it, for language models; else empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<PreviewSpan>,
}

/// Lengths of rows in tokens, special tokens included, before truncation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewLengths {
    /// Shortest.
    pub min: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median (nearest rank, as the other percentiles).
    pub p50: usize,
    /// 90th percentile.
    pub p90: usize,
    /// 95th percentile.
    pub p95: usize,
    /// 99th percentile.
    pub p99: usize,
    /// Longest.
    pub max: usize,
    /// Rows by length, in bins of doubling width.
    pub histogram: Vec<Bin>,
}

/// Numbers to predict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PreviewTargets {
    /// Least.
    pub min: f32,
    /// Arithmetic mean.
    pub mean: f64,
    /// Greatest.
    pub max: f32,
}

impl PreviewLengths {
    pub(crate) fn of(whole: &LengthCounts) -> Self {
        let lengths = whole.lengths();
        Self {
            min: lengths.min,
            mean: lengths.mean,
            p50: lengths.p50,
            p90: whole.percentile(90),
            p95: lengths.p95,
            p99: whole.percentile(99),
            max: lengths.max,
            histogram: whole.histogram(),
        }
    }
}

impl Preview {
    /// Reads a whole file (or [`LoadOptions::limit`] rows of it) and keeps the first `rows` rows and
    /// counts; memory does not grow with the file. `-` is standard input.
    ///
    /// # Errors
    /// As [`crate::Dataset::load`].
    pub fn of(
        path: &Path,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
        rows: usize,
    ) -> Result<Self, DataError> {
        let reader = RowReader::open(path, &options.read)?;
        Self::from_reader(reader, options, tokenizer, rows)
    }

    /// As [`Preview::of`], from an open reader.
    ///
    /// # Errors
    /// As [`Preview::of`].
    pub fn from_reader(
        reader: RowReader,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
        rows: usize,
    ) -> Result<Self, DataError> {
        if options.task == Task::CausalLm {
            let loader = Loader::new(reader, options, tokenizer, Some(rows))?;
            return Self::causal(loader, options, tokenizer);
        }
        let file = reader.file().to_owned();
        let mut source = Source::new(reader, options);
        let own = source.own_labels()?;
        let mut targets = source.targets(options.labels.or(own.as_ref()));
        let max_length = options.max_length;
        let mut builder = Builder::counting(tokenizer, max_length, &file, rows);
        source.fill(&mut builder, &mut targets, |_| false)?;
        let complete = source.reader.next().is_none();
        let (first, counts) = builder.counted()?;
        let (labels, map) = targets.finish(&file)?;
        let (whole, report) = (&counts.whole, counts.report());
        let empty = || DataError::Empty { file: file.clone() };
        Ok(Self {
            columns: source.all_columns.clone(),
            roles: source.columns.clone().ok_or_else(empty)?,
            rows: report.rows,
            complete,
            first: first.into_iter().map(|row| shown(row, tokenizer)).collect(),
            max_length,
            truncated_rows: report.truncated_rows,
            truncated_share: report.truncated_rows as f64 / report.rows as f64,
            truncated_tokens: report.truncated_tokens,
            lengths: PreviewLengths::of(whole),
            empty_texts: report.empty_texts,
            label_counts: named_counts(&labels, map.as_ref()),
            causal: None,
            targets: (options.task == Task::Regress)
                .then(|| labels.numbers())
                .flatten(),
            file,
        })
    }
}

fn shown(row: First, tokenizer: &TextTokenizer) -> PreviewRow {
    let ids = &row.encoded.ids;
    PreviewRow {
        row: row.number,
        text: shorten(&row.text),
        text_pair: row.pair.as_deref().map(shorten),
        tokens: ids
            .iter()
            .take(SHOWN_TOKENS)
            .map(|&id| tokenizer.token(id))
            .collect(),
        length: ids.len(),
        truncated_tokens: row.encoded.truncated_tokens,
        spans: Vec::new(),
    }
}
