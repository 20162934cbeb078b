//! A file in parts, for what looks at each row once: prediction and evaluation.

use crate::builder::{Builder, Counts};
use crate::causal::Loader;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::labels::LabelMap;
use crate::load::{LoadOptions, Source, named_counts};
use crate::reader::{RowReader, Value};
use crate::report::LoadReport;
use crate::task::Task;
use crate::tokenizer::TextTokenizer;
use std::path::Path;

/// Tokens after which a part ends, whatever its rows.
const PART_TOKENS: usize = 4 << 20;

/// Iterates over the rows of a file in parts of bounded size, each a [`Dataset`] of its own; memory
/// does not grow with the file. After an error it ends. A file without rows is an error.
pub struct Parts<'a> {
    reading: Reading<'a>,
    rows: usize,
    ended: bool,
}

enum Reading<'a> {
    Labelled(Box<Labelled<'a>>),
    Causal(Box<Loader<'a>>),
}

/// Rows with labels of their own, or none.
struct Labelled<'a> {
    source: Source<'a>,
    tokenizer: &'a TextTokenizer,
    /// Classes that the file itself names.
    own: Option<LabelMap>,
    file: String,
    counts: Counts,
    label_counts: Vec<(String, usize)>,
    ended: bool,
}

impl Dataset {
    /// Opens a file to be read in parts of at most `rows` rows; `-` is standard input, of which a part without labels
    /// ends where the next row has not arrived yet. Rows of a
    /// language model that are cut from one text may be more, of at most 2 MiB of text, or one row of the file.
    ///
    /// # Errors
    /// As [`Dataset::load`]; [`DataError::Unsupported`] if labels are required whose names are
    /// neither given nor in the file, since they are known only after all rows.
    pub fn parts<'a>(
        path: &Path,
        options: &LoadOptions<'a>,
        tokenizer: &'a TextTokenizer,
        rows: usize,
    ) -> Result<Parts<'a>, DataError> {
        let reader = RowReader::open(path, &options.read)?;
        Parts::new(reader, options, tokenizer, rows)
    }
}

impl<'a> Parts<'a> {
    /// As [`Dataset::parts`], from an open reader.
    ///
    /// # Errors
    /// As [`Dataset::parts`].
    pub fn new(
        reader: RowReader,
        options: &LoadOptions<'a>,
        tokenizer: &'a TextTokenizer,
        rows: usize,
    ) -> Result<Self, DataError> {
        let rows = rows.max(1);
        if options.task == Task::CausalLm {
            let mut loader = Loader::new(reader, options, tokenizer, None)?;
            loader.keep_numbers();
            return Ok(Self {
                reading: Reading::Causal(Box::new(loader)),
                rows,
                ended: false,
            });
        }
        let file = reader.file().to_owned();
        let mut source = Source::new(reader, options);
        // Who labels rows as they come is answered as they come.
        source.prompt = !options.require_labels;
        let own = source.own_labels()?;
        let named = options.labels.is_some() || own.is_some();
        if options.require_labels && options.task.has_classes() && !named {
            return Err(DataError::Unsupported {
                what: format!("{file}: labels cannot be learned from a file that is read in parts"),
                fix: "give their names (LoadOptions::labels), or load the whole file",
            });
        }
        let labelled = Labelled {
            source,
            tokenizer,
            own,
            file,
            counts: Counts::default(),
            label_counts: Vec::new(),
            ended: false,
        };
        Ok(Self {
            reading: Reading::Labelled(Box::new(labelled)),
            rows,
            ended: false,
        })
    }

    /// What was found so far; after the last part, of the whole file.
    pub fn report(&self) -> LoadReport {
        match &self.reading {
            Reading::Causal(loader) => loader.report(),
            Reading::Labelled(labelled) => LoadReport {
                label_counts: labelled.label_counts.clone(),
                ..labelled.counts.report()
            },
        }
    }

    /// Which share of a file has been read, from 0 to 1; `None` where that is not known.
    pub fn share_read(&self) -> Option<f64> {
        match &self.reading {
            Reading::Causal(loader) => loader.share_read(),
            Reading::Labelled(labelled) => labelled.source.reader.share_read(),
        }
    }

    /// What the rows since the last call have in the column of [`LoadOptions::keep`], in their order; empty without
    /// one, and for language models.
    pub fn take_kept(&mut self) -> Vec<Value> {
        match &mut self.reading {
            Reading::Causal(_) => Vec::new(),
            Reading::Labelled(labelled) => std::mem::take(&mut labelled.source.kept),
        }
    }

    /// Which rows of the file those since the last call are from, counted from 1, for language models, which leave
    /// rows out; empty for other tasks, and for plain texts, of which rows are cut.
    pub fn take_numbers(&mut self) -> Vec<u64> {
        match &mut self.reading {
            Reading::Causal(loader) => loader.take_numbers(),
            Reading::Labelled(_) => Vec::new(),
        }
    }

    fn part(&mut self) -> Result<Option<Dataset>, DataError> {
        match &mut self.reading {
            Reading::Labelled(labelled) => {
                let part = labelled.part(self.rows)?;
                self.ended = labelled.ended;
                Ok(part)
            }
            Reading::Causal(loader) => {
                loader.fill(self.rows, PART_TOKENS)?;
                self.ended = loader.ended();
                match loader.take()? {
                    None if loader.report().rows == 0 => Err(loader.nothing()),
                    part => Ok(part),
                }
            }
        }
    }
}

impl Labelled<'_> {
    fn part(&mut self, rows: usize) -> Result<Option<Dataset>, DataError> {
        let o = &self.source.options;
        let (spill, max_length, labels) = (o.spill, o.max_length, o.labels);
        let mut targets = self.source.targets(labels.or(self.own.as_ref()));
        let vocab_size = o.vocab_size;
        let builder =
            Builder::new(self.tokenizer, max_length, &self.file, spill).within(vocab_size);
        let mut builder = builder.after(std::mem::take(&mut self.counts));
        let enough = |b: &Builder<'_>| b.rows() >= rows || b.token_count() >= PART_TOKENS;
        let more = self.source.fill(&mut builder, &mut targets, enough)?;
        self.ended = !more;
        builder.flush()?;
        self.counts = builder.counts.clone();
        if builder.rows() == 0 && self.counts.kept.rows() > 0 {
            return Ok(None);
        }
        let (tokens, _) = builder.finish()?;
        let (labels, map) = targets.finish(&self.file)?;
        let counts = named_counts(&labels, map.as_ref());
        match self.label_counts.is_empty() {
            true => self.label_counts = counts,
            false => {
                for (all, (_, new)) in self.label_counts.iter_mut().zip(counts) {
                    all.1 += new;
                }
            }
        }
        Ok(Some(tokens.labelled(labels, map, self.source.choices()?)))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Dataset, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let part = self.part().transpose();
        self.ended |= !matches!(part, Some(Ok(_)));
        part
    }
}
