//! Tokens of examples to rows of bounded length.

use super::encode::{Encoded, Example};
use super::options::TooLong;
use super::report::CausalReport;
use crate::builder::{Counts, TokenWriter, Tokens};
use crate::dataset::Dataset;
use crate::error::{DataError, Location};
use crate::flags::FlagWriter;
use crate::label_store::LabelStore;
use crate::store::Writer;
use std::ops::Range;

/// How rows are cut, and what is kept of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_length: usize,
    /// Tokens that a row repeats where a text is split.
    pub(crate) overlap: usize,
    pub(crate) too_long: TooLong,
    /// Whether rows need something to predict.
    pub(crate) labelled: bool,
    /// Bytes of each list that stay in memory.
    pub(crate) spill: usize,
    /// First rows to keep for a look.
    pub(crate) first: usize,
    /// Whether only counts and the first rows are kept.
    pub(crate) counting: bool,
    /// Most rows.
    pub(crate) rows: usize,
}

/// One of the first rows.
#[derive(Debug, Clone)]
pub(crate) struct First {
    pub(crate) number: u64,
    pub(crate) ids: Vec<u32>,
    pub(crate) trained: Vec<bool>,
    pub(crate) truncated: usize,
}

/// Collects rows.
pub(crate) struct Rows {
    limits: Limits,
    file: String,
    tokens: TokenWriter,
    flags: FlagWriter,
    choices: Writer<u32>,
    /// Whether all tokens but the first of every row are predicted.
    plain: bool,
    /// A text that is not complete, or what is left of it.
    pending: Pending,
    pub(crate) counts: Counts,
    pub(crate) report: CausalReport,
    pub(crate) first: Vec<First>,
    /// Rows since the last [`Rows::take`].
    new: usize,
    /// Rows of the file that they are from, from 1, where these are asked for.
    numbers: Option<Vec<u64>>,
}

#[derive(Debug, Default)]
struct Pending {
    ids: Vec<u32>,
    flags: Vec<bool>,
    /// Tokens of answers, counted from the text's beginning.
    answers: Vec<Range<usize>>,
    /// Tokens that were cut off.
    lost: usize,
    split: bool,
}

impl Rows {
    pub(crate) fn new(limits: Limits, file: &str) -> Self {
        Self {
            file: file.to_owned(),
            tokens: TokenWriter::new(limits.spill),
            flags: FlagWriter::new(limits.spill),
            choices: Writer::new(limits.spill),
            plain: true,
            pending: Pending::default(),
            counts: Counts::default(),
            report: CausalReport::default(),
            first: Vec::new(),
            new: 0,
            numbers: None,
            limits,
        }
    }

    /// Rows since the last [`Rows::take`].
    pub(crate) fn new_rows(&self) -> usize {
        self.new
    }

    /// From now on, keeps which rows of the file rows are from.
    pub(crate) fn keep_numbers(&mut self) {
        self.numbers = Some(Vec::new());
    }

    /// Those of the rows since this was asked for last.
    pub(crate) fn take_numbers(&mut self) -> Vec<u64> {
        self.numbers
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Tokens of those.
    pub(crate) fn new_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are as many rows as may be.
    pub(crate) fn full(&self) -> bool {
        self.counts.kept.rows() as usize >= self.limits.rows
    }

    /// Adds an example, or a part of one.
    pub(crate) fn add(&mut self, example: &Example, encoded: Encoded) -> Result<(), DataError> {
        if example.begins {
            self.pending = Pending::default();
        }
        if let Some(found) = encoded.found {
            match self
                .report
                .found
                .iter_mut()
                .find(|(kind, _)| *kind == found)
            {
                Some((_, rows)) => *rows += 1,
                None => self.report.found.push((found, 1)),
            }
        }
        let flags = encoded.flags();
        let pending = &mut self.pending;
        pending.ids.extend(encoded.ids);
        pending.flags.extend(flags);
        pending.answers.extend(encoded.answers.unwrap_or_default());
        if example.begins
            && let Some(first) = pending.flags.first_mut()
        {
            *first = false;
        }
        let most = self.limits.max_length;
        match self.limits.too_long {
            TooLong::Split => self.windows(example)?,
            TooLong::Truncate | TooLong::Drop => {
                pending.lost += pending.ids.len().saturating_sub(most);
                pending.ids.truncate(most);
                pending.flags.truncate(most);
            }
        }
        match example.ends {
            true => self.finish(example),
            false => Ok(()),
        }
    }

    /// Hands on all rows that are full, and more is to come.
    fn windows(&mut self, example: &Example) -> Result<(), DataError> {
        let (most, overlap) = (self.limits.max_length, self.limits.overlap);
        let mut pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while pending.ids.len() - at > most {
            if !pending.split {
                self.report.split_texts += 1;
                pending.split = true;
            }
            let row = at..at + most;
            self.emit(
                example,
                &pending.ids[row.clone()],
                &pending.flags[row],
                (0, false),
            )?;
            at += most - overlap;
            pending.flags[at..at + overlap].fill(false);
        }
        pending.ids.drain(..at);
        pending.flags.drain(..at);
        self.pending = pending;
        Ok(())
    }

    fn finish(&mut self, example: &Example) -> Result<(), DataError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.lost > 0 && self.limits.too_long == TooLong::Drop {
            self.report.dropped_too_long += 1;
            return Ok(());
        }
        let mut beyond = false;
        if pending.lost > 0 {
            let (cut, kept) = (&mut self.report.cut, pending.ids.len());
            cut.rows += 1;
            cut.tokens += pending.lost;
            for answer in pending.answers.iter().filter(|a| a.end > kept) {
                beyond = true;
                match answer.start < kept {
                    true => cut.answers += 1,
                    false => cut.lost_answers += 1,
                }
            }
        }
        self.emit(
            example,
            &pending.ids,
            &pending.flags,
            (pending.lost, beyond),
        )
    }

    /// Writes one row; of what was cut off, the tokens, and whether any of them were to be predicted.
    fn emit(
        &mut self,
        example: &Example,
        ids: &[u32],
        flags: &[bool],
        (lost, beyond): (usize, bool),
    ) -> Result<(), DataError> {
        if self.full() {
            return Ok(());
        }
        if ids.is_empty() && !self.limits.labelled {
            return Err(DataError::NoTokens {
                at: Location {
                    file: self.file.clone(),
                    row: example.place.0,
                    line: example.place.1,
                    column: None,
                },
            });
        }
        let targets = flags.iter().filter(|trained| **trained).count();
        if targets == 0 && self.limits.labelled {
            match beyond {
                true => self.report.dropped_beyond_length += 1,
                false => self.report.dropped_without_target += 1,
            }
            return Ok(());
        }
        self.plain &= targets + 1 == ids.len();
        self.report.tokens += ids.len();
        self.report.targets += targets;
        let counts = &mut self.counts;
        counts.truncated_rows += usize::from(lost > 0);
        counts.truncated_tokens += lost;
        counts.kept.add(ids.len());
        counts.whole.add(ids.len() + lost);
        self.new += 1;
        if let Some(numbers) = &mut self.numbers {
            numbers.push(example.place.0);
        }
        if self.first.len() < self.limits.first {
            self.first.push(First {
                number: example.place.0,
                ids: ids.to_vec(),
                trained: flags.to_vec(),
                truncated: lost,
            });
        }
        if self.limits.counting {
            return Ok(());
        }
        self.tokens.append(ids, &[])?;
        self.flags.extend(flags)?;
        match example.choice {
            Some(choice) => self.choices.push(choice),
            None => Ok(()),
        }
    }

    /// The rows since this was asked for last; `None` if there are none.
    pub(crate) fn take(&mut self) -> Result<Option<Dataset>, DataError> {
        let spill = self.limits.spill;
        let tokens = std::mem::replace(&mut self.tokens, TokenWriter::new(spill));
        let flags = std::mem::replace(&mut self.flags, FlagWriter::new(spill));
        let choices = std::mem::replace(&mut self.choices, Writer::new(spill));
        let plain = std::mem::replace(&mut self.plain, true);
        if std::mem::take(&mut self.new) == 0 || self.limits.counting {
            return Ok(None);
        }
        let labels = match (self.limits.labelled, plain) {
            (false, _) => LabelStore::None,
            (true, true) => LabelStore::Tokens(None),
            (true, false) => LabelStore::Tokens(Some(flags.finish()?)),
        };
        let choices = (choices.len() > 0).then(|| choices.finish()).transpose()?;
        let tokens: Tokens = tokens.finish()?;
        Ok(Some(tokens.labelled(labels, None, choices)))
    }
}
