//! From rows to a tokenized data set.

use crate::columns::{ColumnMap, Columns};
use crate::dataset::{Dataset, Labels};
use crate::error::{DataError, Location};
use crate::labels::LabelMap;
use crate::reader::{ReadOptions, RowReader};
use crate::report::{Lengths, LoadReport};
use crate::targets::Targets;
use crate::task::Task;
use crate::tokenizer::{Encoded, TextTokenizer};
use std::path::Path;

/// Rows tokenized at a time: enough for all threads, little enough to keep memory flat.
const CHUNK_ROWS: usize = 1024;
/// Text held at a time, in bytes, lest a chunk of giant rows fill memory.
const CHUNK_BYTES: usize = 16 << 20;

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
    /// Whether rows must be labelled. If not, labels are not read at all.
    pub require_labels: bool,
    /// Most rows to load.
    pub limit: Option<usize>,
    /// Format and header.
    pub read: ReadOptions,
}

impl LoadOptions<'_> {
    /// All labelled rows, columns detected.
    pub fn new(task: Task, max_length: usize) -> Self {
        Self {
            columns: ColumnMap::default(),
            task,
            labels: None,
            max_length,
            require_labels: true,
            limit: None,
            read: ReadOptions::default(),
        }
    }
}

impl Dataset {
    /// Loads and tokenizes a file; `-` is standard input.
    ///
    /// # Errors
    /// Any [`DataError`] of reading, columns, labels or tokenizing; [`DataError::Empty`] for a file
    /// without rows.
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
        mut reader: RowReader,
        options: &LoadOptions<'_>,
        tokenizer: &TextTokenizer,
    ) -> Result<(Self, LoadReport), DataError> {
        let file = reader.file().to_owned();
        let mut targets = Targets::new(options.task, options.labels, options.require_labels);
        let mut builder = Builder::new(tokenizer, options.max_length, &file);
        let mut columns: Option<Columns> = None;
        for row in reader.by_ref().take(options.limit.unwrap_or(usize::MAX)) {
            let row = row?;
            let columns = match &columns {
                Some(columns) => columns,
                None => {
                    let (map, labelled) = (&options.columns, options.require_labels);
                    columns.insert(map.resolve(row.names(), labelled, &file)?)
                }
            };
            if let Some(label) = &columns.label {
                targets.push(&row, label, &file)?;
            }
            let text = row.text(&columns.text, &file)?.to_owned();
            let pair = columns
                .text_pair
                .as_ref()
                .map(|p| row.text(p, &file))
                .transpose()?;
            builder.push(text, pair.map(str::to_owned), row.location(&file))?;
        }
        let (mut set, mut report) = builder.finish()?;
        (set.labels, set.label_map) = targets.finish(&file)?;
        report.label_counts = set.label_counts();
        Ok((set, report))
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
        let at = |row| Location {
            file: FILE.to_owned(),
            row,
            line: 0,
            column: None,
        };
        let mut builder = Builder::new(tokenizer, max_length, FILE);
        for (row, (text, pair)) in (1..).zip(texts) {
            builder.push(text.to_owned(), pair.map(str::to_owned), at(row))?;
        }
        let (mut set, mut report) = builder.finish()?;
        if labels != Labels::None && labels.len() != set.len() {
            return Err(DataError::LabelCount {
                texts: set.len(),
                labels: labels.len(),
            });
        }
        if let (Labels::Classes(ids), Some(map)) = (&labels, &label_map)
            && let Some((row, id)) = (1..).zip(ids).find(|(_, id)| map.name(**id).is_none())
        {
            let (value, known) = (id.to_string(), map.listed());
            return Err(DataError::UnknownLabel {
                at: at(row),
                value,
                known,
            });
        }
        (set.labels, set.label_map) = (labels, label_map);
        report.label_counts = set.label_counts();
        Ok((set, report))
    }

    fn label_counts(&self) -> Vec<(String, usize)> {
        let (Labels::Classes(ids), Some(map)) = (&self.labels, &self.label_map) else {
            return Vec::new();
        };
        let mut counts = vec![0; map.len()];
        for &id in ids {
            if let Some(count) = counts.get_mut(id as usize) {
                *count += 1;
            }
        }
        map.names().iter().cloned().zip(counts).collect()
    }
}

/// Tokenizes rows in chunks and appends them.
struct Builder<'a> {
    tokenizer: &'a TextTokenizer,
    max_length: usize,
    file: &'a str,
    waiting: Vec<(String, Option<String>)>,
    places: Vec<Location>,
    bytes: usize,
    set: Dataset,
    report: LoadReport,
}

impl<'a> Builder<'a> {
    fn new(tokenizer: &'a TextTokenizer, max_length: usize, file: &'a str) -> Self {
        let (ids, type_ids, starts) = (Vec::new(), Vec::new(), vec![0]);
        Self {
            tokenizer,
            max_length,
            file,
            waiting: Vec::new(),
            places: Vec::new(),
            bytes: 0,
            set: Dataset {
                ids,
                type_ids,
                starts,
                labels: Labels::None,
                label_map: None,
            },
            report: LoadReport::default(),
        }
    }

    fn push(&mut self, text: String, pair: Option<String>, at: Location) -> Result<(), DataError> {
        let blank = |t: &String| t.trim().is_empty();
        self.report.empty_texts += usize::from(blank(&text) || pair.as_ref().is_some_and(blank));
        self.bytes += text.len() + pair.as_ref().map_or(0, String::len);
        self.waiting.push((text, pair));
        self.places.push(at);
        match self.waiting.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let encoded = self.tokenizer.encode_many(&self.waiting, self.max_length)?;
        for (row, at) in encoded.into_iter().zip(self.places.drain(..)) {
            if row.ids.is_empty() {
                return Err(DataError::NoTokens { at });
            }
            self.report.truncated_rows += usize::from(row.truncated_tokens > 0);
            self.report.truncated_tokens += row.truncated_tokens;
            self.set.append(row);
        }
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<(Dataset, LoadReport), DataError> {
        self.flush()?;
        if self.set.is_empty() {
            return Err(DataError::Empty {
                file: self.file.to_owned(),
            });
        }
        self.report.rows = self.set.len();
        self.report.lengths = Lengths::of(&self.set.lengths());
        Ok((self.set, self.report))
    }
}

impl Dataset {
    fn append(&mut self, row: Encoded) {
        if row.type_ids.iter().any(|&t| t != 0) || !self.type_ids.is_empty() {
            // The first second segment: earlier rows were all of segment 0.
            self.type_ids.resize(self.ids.len(), 0);
            // Segments are 0 and 1 (XLNet's class token has 2); no tokenizer goes near 255.
            self.type_ids
                .extend(row.type_ids.iter().map(|&t| t.min(255) as u8));
        }
        self.ids.extend_from_slice(&row.ids);
        self.starts.push(self.ids.len());
    }
}
