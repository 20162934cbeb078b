//! From rows to a tokenized data set.

use crate::builder::{Builder, TokenWriter};
use crate::causal::{CausalOptions, Loader};
use crate::choice::{ChoiceColumn, Choices, expect_column};
use crate::columns::{ColumnMap, Columns};
use crate::dataset::{Dataset, Labels};
use crate::error::{DataError, Location};
use crate::label_store::LabelStore;
use crate::labels::LabelMap;
use crate::reader::{ReadOptions, RowReader, Value};
use crate::report::LoadReport;
use crate::store::{SPILL_BYTES, Store};
use crate::targets::{Targets, check};
use crate::task::Task;
use crate::tokenizer::TextTokenizer;
use crate::words::words_of;
use std::path::Path;

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct LoadOptions<'a> {
    /// Columns, named or detected.
    pub columns: ColumnMap,
    /// What labels mean.
    pub task: Task,
    /// The classes, if they are given; else they are taken from the data.
    pub labels: Option<&'a LabelMap>,
    /// Most tokens a row may have, special tokens included.
    pub max_length: usize,
    /// How many tokens the model has embeddings for, if rows with others shall be refused.
    pub vocab_size: Option<usize>,
    /// Whether rows must be labelled. If not, labels are not read at all.
    pub require_labels: bool,
    /// Most rows to load.
    pub limit: Option<usize>,
    /// Format and header.
    pub read: ReadOptions,
    /// What stands between several labels in one text ([`Task::MultiLabel`]).
    pub label_separator: char,
    /// A column that chooses a name for every row, see [`Dataset::choices`].
    pub choice: Option<ChoiceColumn<'a>>,
    /// A column whose values are handed back as they are, such as an id: see [`Parts::take_kept`](crate::Parts::take_kept).
    pub keep: Option<&'a str>,
    /// Bytes of each list (token ids, segments, row starts, labels) that stay in memory; longer
    /// lists go to a temporary file, so that memory does not grow with the data.
    pub spill: usize,
    /// How rows of a language model are made ([`Task::CausalLm`]).
    pub causal: CausalOptions<'a>,
}

impl LoadOptions<'_> {
    /// All labelled rows, columns detected.
    pub fn new(task: Task, max_length: usize) -> Self {
        Self {
            columns: ColumnMap::default(),
            task,
            labels: None,
            max_length,
            vocab_size: None,
            require_labels: true,
            limit: None,
            read: ReadOptions::default(),
            label_separator: ',',
            choice: None,
            keep: None,
            spill: SPILL_BYTES,
            causal: CausalOptions::default(),
        }
    }
}

/// Rows on their way from a reader.
pub(crate) struct Source<'a> {
    pub(crate) reader: RowReader,
    pub(crate) options: LoadOptions<'a>,
    pub(crate) columns: Option<Columns>,
    /// The columns of the first row.
    pub(crate) all_columns: Vec<String>,
    /// What the rows since the last [`Source::choices`] chose.
    choices: Option<Choices<'a>>,
    /// Values of the column to keep, of rows that nobody has taken yet.
    pub(crate) kept: Vec<Value>,
    /// Whether rows are handed over as they arrive: none is waited for where there is one.
    pub(crate) prompt: bool,
    /// Rows that may still be read.
    left: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(reader: RowReader, options: &LoadOptions<'a>) -> Self {
        Self {
            reader,
            options: options.clone(),
            columns: None,
            all_columns: Vec::new(),
            choices: options
                .choice
                .map(|column| Choices::new(column, options.spill)),
            kept: Vec::new(),
            prompt: false,
            left: options.limit.unwrap_or(usize::MAX),
        }
    }

    /// What the rows chose since this was asked for last.
    pub(crate) fn choices(&mut self) -> Result<Option<Store<u32>>, DataError> {
        let o = &self.options;
        let next = o.choice.map(|column| Choices::new(column, o.spill));
        let choices = std::mem::replace(&mut self.choices, next);
        choices.map(Choices::finish).transpose()
    }

    /// Where the labels of the rows go. `map` is that of the options or of the file itself.
    pub(crate) fn targets<'m>(&self, map: Option<&'m LabelMap>) -> Targets<'m> {
        let o = &self.options;
        match o.require_labels {
            true => Targets::new(o.task, map, o.label_separator, o.spill),
            false => Targets::Unlabelled,
        }
    }

    /// The classes that the file names itself, if nobody else does.
    pub(crate) fn own_labels(&mut self) -> Result<Option<LabelMap>, DataError> {
        let wanted = self.options.labels.is_none() && self.options.require_labels;
        if !wanted || !self.options.task.has_classes() {
            return Ok(None);
        }
        let Some(names) = self.reader.names().map(<[String]>::to_vec) else {
            return Ok(None);
        };
        let label = self.resolve(&names)?.label.clone();
        let names = label.and_then(|label| self.reader.class_names(&label));
        names.map(LabelMap::from_names).transpose()
    }

    fn resolve(&mut self, names: &[String]) -> Result<&Columns, DataError> {
        let o = &self.options;
        if self.columns.is_none() {
            let file = self.reader.file();
            let columns = o
                .columns
                .resolve_for(o.task, names, o.require_labels, file)
                .map_err(|error| self.reader.explained(error))?;
            let mut used = columns.used();
            if let Some(choice) = &o.choice {
                choice.expect_in(names, file)?;
                used.push(choice.column);
            }
            if let Some(keep) = o.keep {
                expect_column(keep, "the setting `id_column`", names, file)?;
                used.push(keep);
            }
            self.reader.keep(&used);
            self.columns = Some(columns);
            self.all_columns = names.to_vec();
        }
        self.columns.as_ref().ok_or_else(|| DataError::Empty {
            file: self.reader.file().to_owned(),
        })
    }

    /// Reads rows until `enough` says so; false at the end of the rows.
    pub(crate) fn fill(
        &mut self,
        builder: &mut Builder<'_>,
        targets: &mut Targets<'_>,
        enough: impl Fn(&Builder<'_>) -> bool,
    ) -> Result<bool, DataError> {
        if let Some(names) = self.reader.names().map(<[String]>::to_vec) {
            self.resolve(&names)?;
        }
        while !enough(builder) {
            if self.left == 0 {
                return Ok(false);
            }
            if self.prompt && builder.rows() > 0 && self.reader.is_waiting() {
                return Ok(true);
            }
            let Some(row) = self.reader.next() else {
                return Ok(false);
            };
            let row = row?;
            self.left -= 1;
            self.resolve(row.names())?;
            let (Some(columns), file) = (&self.columns, self.reader.file()) else {
                return Ok(false);
            };
            if self.options.require_labels {
                targets.push(&row, columns, file)?;
                builder.counts.by_number += usize::from(targets.is_number(&row, columns));
            }
            if let Some(choices) = &mut self.choices {
                choices.push(&row, file)?;
            }
            if let Some(keep) = self.options.keep {
                self.kept
                    .push(row.get(keep).cloned().unwrap_or(Value::Null));
            }
            if self.options.task == Task::TokenClassify {
                let words = words_of(&row, &columns.text, self.options.require_labels, file)?;
                builder.push_words(words, (row.number(), row.line()))?;
                continue;
            }
            let text = row.text(&columns.text, file)?.to_owned();
            let pair = columns.text_pair.as_ref().map(|p| row.text(p, file));
            let pair = pair.transpose()?.map(str::to_owned);
            builder.push(text, pair, (row.number(), row.line()))?;
        }
        Ok(true)
    }
}

impl Dataset {
    /// Loads and tokenizes a file; `-` is standard input.
    ///
    /// # Errors
    /// Any [`DataError`] of reading, columns, labels or tokenizing; [`DataError::Empty`] for a file
    /// without rows; [`DataError::Spill`] for more rows than memory and disk hold.
    pub fn load(
        path: &Path,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
    ) -> Result<(Self, LoadReport), DataError> {
        Self::from_reader(RowReader::open(path, &options.read)?, options, tokenizer)
    }

    /// As [`Dataset::load`], from an open reader.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn from_reader(
        reader: RowReader,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
    ) -> Result<(Self, LoadReport), DataError> {
        if options.task == Task::CausalLm {
            let mut loader = Loader::new(reader, options, tokenizer, None)?;
            loader.fill(usize::MAX, usize::MAX)?;
            let set = loader.take()?.ok_or_else(|| loader.nothing())?;
            return Ok((set, loader.report()));
        }
        let file = reader.file().to_owned();
        let mut source = Source::new(reader, options);
        let own = source.own_labels()?;
        let mut targets = source.targets(options.labels.or(own.as_ref()));
        let mut builder = Builder::new(tokenizer, options.max_length, &file, options.spill)
            .within(options.vocab_size);
        source.fill(&mut builder, &mut targets, |_| false)?;
        let (tokens, mut report) = builder.finish()?;
        let (labels, map) = targets.finish(&file)?;
        report.label_counts = named_counts(&labels, map.as_ref());
        let choices = source.choices()?;
        Ok((tokens.labelled(labels, map, choices), report))
    }

    /// Tokenizes texts in memory, each with an optional second text. `labels` must be as many as
    /// the texts, or [`Labels::None`]; `label_map` names the classes.
    ///
    /// # Errors
    /// [`DataError::Empty`], [`DataError::LabelCount`], [`DataError::UnknownLabel`] for a class
    /// outside the map, and the errors of the tokenizer.
    pub fn from_texts<'t>(
        texts: impl IntoIterator<Item = (&'t str, Option<&'t str>)>,
        labels: Labels,
        label_map: Option<LabelMap>,
        max_length: usize,
        tokenizer: &TextTokenizer,
    ) -> Result<(Self, LoadReport), DataError> {
        const FILE: &str = "<texts>";
        if let Labels::Tokens { .. } | Labels::Words { .. } = labels {
            return Err(DataError::Unsupported {
                what: "labels of tokens cannot be given for texts that are not tokenized"
                    .to_owned(),
                fix: "tokenize first, see Dataset::from_tokens",
            });
        }
        let mut builder = Builder::new(tokenizer, max_length, FILE, SPILL_BYTES);
        for (row, (text, pair)) in (1..).zip(texts) {
            builder.push(text.to_owned(), pair.map(str::to_owned), (row, 0))?;
        }
        let (tokens, mut report) = builder.finish()?;
        if labels != Labels::None && labels.len() != report.rows {
            return Err(DataError::LabelCount {
                texts: report.rows,
                labels: labels.len(),
            });
        }
        if let Labels::MultiHot { values, width } = &labels {
            let names = label_map.as_ref().map_or(*width, LabelMap::len);
            if names != *width || values.len() != width * report.rows {
                return Err(DataError::LabelNames {
                    problem: format!("{names} names for {width} labels a row"),
                });
            }
        }
        if let Some((row, id)) = check(&labels, label_map.as_ref()) {
            return Err(DataError::UnknownLabel {
                at: Location {
                    file: FILE.to_owned(),
                    row,
                    line: 0,
                    column: None,
                },
                value: id.to_string(),
                known: label_map.map(|map| map.listed()).unwrap_or_default(),
            });
        }
        let labels = LabelStore::from(labels);
        report.label_counts = named_counts(&labels, label_map.as_ref());
        Ok((tokens.labelled(labels, label_map, None), report))
    }

    /// Rows of token ids with a flag for each that says whether it is to be predicted, see
    /// [`Labels::Tokens`]; the flag of a row's first token is taken for false.
    ///
    /// # Errors
    /// [`DataError::LabelCount`] for a row with more or fewer flags than ids,
    /// [`DataError::NoTokens`] for one without ids, [`DataError::Empty`] without rows.
    pub fn from_tokens<'t>(
        rows: impl IntoIterator<Item = (&'t [u32], &'t [bool])>,
    ) -> Result<Self, DataError> {
        const FILE: &str = "<tokens>";
        let (mut tokens, mut trained) = (TokenWriter::new(SPILL_BYTES), Vec::new());
        for (row, (ids, flags)) in (1..).zip(rows) {
            if ids.len() != flags.len() {
                return Err(DataError::LabelCount {
                    texts: ids.len(),
                    labels: flags.len(),
                });
            }
            let (Some(_), [_, rest @ ..]) = (ids.first(), flags) else {
                return Err(DataError::NoTokens {
                    at: Location {
                        file: FILE.to_owned(),
                        row,
                        line: 0,
                        column: None,
                    },
                });
            };
            tokens.append(ids, &[])?;
            trained.push(false);
            trained.extend_from_slice(rest);
        }
        if tokens.len() == 0 {
            return Err(DataError::Empty {
                file: FILE.to_owned(),
            });
        }
        let labels = LabelStore::from(Labels::Tokens { trained });
        Ok(tokens.finish()?.labelled(labels, None, None))
    }
}

/// Rows with each label, by name.
pub(crate) fn named_counts(labels: &LabelStore, map: Option<&LabelMap>) -> Vec<(String, usize)> {
    match (labels, map) {
        (
            LabelStore::Classes { .. } | LabelStore::Many { .. } | LabelStore::Words { .. },
            Some(map),
        ) => {
            let counts = labels.counts(map.len());
            map.names().iter().cloned().zip(counts).collect()
        }
        _ => Vec::new(),
    }
}
