//! Tokenizes rows in chunks and keeps them, or only counts.

use crate::dataset::{Dataset, Rows};
use crate::error::{DataError, Location};
use crate::label_store::LabelStore;
use crate::labels::LabelMap;
use crate::report::{LengthCounts, LoadReport};
use crate::store::{Store, Writer};
use crate::tokenizer::{Encoded, TextTokenizer};

/// Rows tokenized at a time: enough for all threads, little enough to keep memory flat.
const CHUNK_ROWS: usize = 1024;
/// Text held at a time, in bytes, lest a chunk of giant rows fill memory.
const CHUNK_BYTES: usize = 16 << 20;

/// Rows of text on their way to token ids.
pub(crate) struct Builder<'a> {
    tokenizer: &'a TextTokenizer,
    max_length: usize,
    vocab_size: Option<usize>,
    file: &'a str,
    waiting: Vec<(String, Option<String>)>,
    /// The words of those, where labels are of words.
    waiting_words: Vec<Vec<String>>,
    /// Row and line of those.
    places: Vec<(u64, u64)>,
    bytes: usize,
    tokens: Option<TokenWriter>,
    first: Vec<First>,
    keep_first: usize,
    pub(crate) counts: Counts,
}

/// One of the first rows, with its texts.
pub(crate) struct First {
    pub(crate) number: u64,
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
    pub(crate) encoded: Encoded,
}

/// What is counted of all rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Lengths after and before truncation.
    pub(crate) kept: LengthCounts,
    pub(crate) whole: LengthCounts,
    pub(crate) truncated_rows: usize,
    pub(crate) truncated_tokens: usize,
    pub(crate) empty_texts: usize,
    /// Rows whose label is the number of a class.
    pub(crate) by_number: usize,
}

impl Counts {
    pub(crate) fn report(&self) -> LoadReport {
        LoadReport {
            rows: self.kept.rows() as usize,
            label_counts: Vec::new(),
            truncated_rows: self.truncated_rows,
            truncated_tokens: self.truncated_tokens,
            lengths: self.kept.lengths(),
            empty_texts: self.empty_texts,
            by_number: self.by_number,
            causal: None,
        }
    }
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        tokenizer: &'a TextTokenizer,
        max_length: usize,
        file: &'a str,
        spill: usize,
    ) -> Self {
        Self {
            tokens: Some(TokenWriter::new(spill)),
            ..Self::counting(tokenizer, max_length, file, 0)
        }
    }

    /// Keeps nothing but counts and the first rows.
    pub(crate) fn counting(
        tokenizer: &'a TextTokenizer,
        max_length: usize,
        file: &'a str,
        keep_first: usize,
    ) -> Self {
        Self {
            tokenizer,
            max_length,
            vocab_size: None,
            file,
            waiting: Vec::new(),
            waiting_words: Vec::new(),
            places: Vec::new(),
            bytes: 0,
            tokens: None,
            first: Vec::new(),
            keep_first,
            counts: Counts::default(),
        }
    }

    /// Refuses tokens beyond so many.
    pub(crate) fn within(self, vocab_size: Option<usize>) -> Self {
        Self { vocab_size, ..self }
    }

    /// Goes on counting where another stopped.
    pub(crate) fn after(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// Rows so far, those waiting included.
    pub(crate) fn rows(&self) -> usize {
        let done = self
            .tokens
            .as_ref()
            .map_or(0, |t| t.starts.len().saturating_sub(1));
        done + self.waiting.len()
    }

    /// Tokens so far, without the rows that wait.
    pub(crate) fn token_count(&self) -> usize {
        self.tokens.as_ref().map_or(0, |t| t.ids.len())
    }

    pub(crate) fn push(
        &mut self,
        text: String,
        pair: Option<String>,
        place: (u64, u64),
    ) -> Result<(), DataError> {
        let blank = |t: &String| t.trim().is_empty();
        let empty = blank(&text) || pair.as_ref().is_some_and(blank);
        self.counts.empty_texts += usize::from(empty);
        self.bytes += text.len() + pair.as_ref().map_or(0, String::len);
        self.waiting.push((text, pair));
        self.places.push(place);
        match self.waiting.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Adds a row of words, whose places among the tokens are kept.
    pub(crate) fn push_words(
        &mut self,
        words: Vec<String>,
        place: (u64, u64),
    ) -> Result<(), DataError> {
        let text = words.join(" ");
        self.waiting_words.push(words);
        self.push(text, None, place)
    }

    pub(crate) fn flush(&mut self) -> Result<(), DataError> {
        let words = std::mem::take(&mut self.waiting_words);
        let encoded = match words.is_empty() {
            true => self.tokenizer.encode_many(&self.waiting, self.max_length)?,
            false => {
                let aligned = self.tokenizer.encode_words(&words, self.max_length)?;
                let (encoded, starts): (Vec<Encoded>, Vec<Vec<u32>>) = aligned.into_iter().unzip();
                if let Some(tokens) = &mut self.tokens {
                    for starts in &starts {
                        tokens.words.extend(starts)?;
                    }
                }
                encoded
            }
        };
        let rows = self.waiting.drain(..).zip(self.places.drain(..));
        for ((texts, (number, line)), row) in rows.zip(encoded) {
            let at = || Location {
                file: self.file.to_owned(),
                row: number,
                line,
                column: None,
            };
            if row.ids.is_empty() {
                return Err(DataError::NoTokens { at: at() });
            }
            self.tokenizer.expect_known(&row.ids, self.vocab_size, at)?;
            let counts = &mut self.counts;
            counts.truncated_rows += usize::from(row.truncated_tokens > 0);
            counts.truncated_tokens += row.truncated_tokens;
            counts.kept.add(row.ids.len());
            counts.whole.add(row.ids.len() + row.truncated_tokens);
            if let Some(tokens) = &mut self.tokens {
                tokens.append(&row.ids, &row.type_ids)?;
            }
            if self.first.len() < self.keep_first {
                let (text, pair) = texts;
                self.first.push(First {
                    number,
                    text,
                    pair,
                    encoded: row,
                });
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// All rows, and what was found.
    pub(crate) fn finish(mut self) -> Result<(Tokens, LoadReport), DataError> {
        self.flush()?;
        let report = self.counts.report();
        match self.tokens {
            Some(tokens) if tokens.starts.len() > 1 => Ok((tokens.finish()?, report)),
            _ => Err(DataError::Empty {
                file: self.file.to_owned(),
            }),
        }
    }

    /// The first rows and the counts.
    pub(crate) fn counted(mut self) -> Result<(Vec<First>, Counts), DataError> {
        self.flush()?;
        match self.counts.kept.rows() {
            0 => Err(DataError::Empty {
                file: self.file.to_owned(),
            }),
            _ => Ok((self.first, self.counts)),
        }
    }
}

pub(crate) struct TokenWriter {
    ids: Writer<u32>,
    type_ids: Writer<u8>,
    starts: Writer<u64>,
    /// Of each token which word begins with it, where rows are words.
    words: Writer<u32>,
}

impl TokenWriter {
    pub(crate) fn new(spill: usize) -> Self {
        Self {
            ids: Writer::new(spill),
            type_ids: Writer::new(spill),
            starts: Writer::new(spill),
            words: Writer::new(spill),
        }
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds a row; no segments are all of segment 0.
    pub(crate) fn append(&mut self, ids: &[u32], type_ids: &[u32]) -> Result<(), DataError> {
        if self.starts.len() == 0 {
            self.starts.push(0)?;
        }
        if type_ids.iter().any(|&t| t != 0) || self.type_ids.len() > 0 {
            // The first second segment: earlier rows were all of segment 0.
            const ZEROS: [u8; 4096] = [0; 4096];
            while self.type_ids.len() < self.ids.len() {
                let missing = (self.ids.len() - self.type_ids.len()).min(ZEROS.len());
                self.type_ids.extend(&ZEROS[..missing])?;
            }
            // Segments are 0 and 1 (XLNet's class token has 2); no tokenizer goes near 255.
            let narrow: Vec<u8> = type_ids.iter().map(|&t| t.min(255) as u8).collect();
            self.type_ids.extend(&narrow)?;
        }
        self.ids.extend(ids)?;
        self.starts.push(self.ids.len() as u64)
    }

    pub(crate) fn finish(self) -> Result<Tokens, DataError> {
        Ok(Tokens {
            ids: self.ids.finish()?,
            type_ids: self.type_ids.finish()?,
            starts: self.starts.finish()?,
            words: self.words.finish()?,
        })
    }
}

/// Rows without their labels.
pub(crate) struct Tokens {
    ids: Store<u32>,
    type_ids: Store<u8>,
    starts: Store<u64>,
    words: Store<u32>,
}

impl Tokens {
    pub(crate) fn labelled(
        self,
        labels: LabelStore,
        label_map: Option<LabelMap>,
        choices: Option<Store<u32>>,
    ) -> Dataset {
        let labels = match labels {
            LabelStore::Words {
                tags,
                starts,
                order,
                ..
            } => LabelStore::Words {
                words: self.words,
                tags,
                starts,
                order,
            },
            LabelStore::None if !self.words.is_empty() => LabelStore::Words {
                words: self.words,
                tags: Vec::new().into(),
                starts: Vec::new().into(),
                order: None,
            },
            other => other,
        };
        Dataset::from(Rows {
            ids: self.ids,
            type_ids: self.type_ids,
            starts: self.starts,
            labels,
            label_map,
            choices,
        })
    }
}
