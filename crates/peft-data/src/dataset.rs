//! Tokenized rows, kept compactly.

use crate::batch::Batch;
use crate::error::DataError;
use crate::label_store::LabelStore;
use crate::labels::LabelMap;
use crate::plan::BatchPlan;
use crate::split::{LISTED_ROWS, choose, split, split_stratified};
use crate::store::{SPILL_BYTES, Store, Writer};
use std::ops::Range;
use std::sync::Arc;

/// Labels of rows, in the rows' order.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Rows without labels.
    None,
    /// Class ids.
    Classes(Vec<u32>),
    /// Numbers to predict.
    Numbers(Vec<f32>),
    /// Any number of labels a row, as multi-label losses want them: 1 where a row has the label,
    /// else 0.
    MultiHot {
        /// `[rows, width]`, row after row.
        values: Vec<f32>,
        /// Number of labels there are.
        width: usize,
    },
    /// Tokens to predict, for language models.
    Tokens {
        /// One flag a token: whether it is to be predicted from the tokens before it in its row.
        /// The first token of a row never is.
        trained: Vec<bool>,
    },
    /// Classes of words.
    Words {
        /// One a token: the class of the word that begins with it, [`Labels::UNKNOWN`] where the word has no label, and
        /// [`Labels::IGNORED`] for the other tokens, and for words that are labelled so (-100).
        classes: Vec<u32>,
        /// One a token: which word of its row begins with it, and [`Labels::IGNORED`] for the other tokens.
        words: Vec<u32>,
    },
}

impl Labels {
    /// What stands for the class of a token that is none to be labelled.
    pub const IGNORED: u32 = u32::MAX;
    /// What stands for the class of a word whose label nobody has told.
    pub const UNKNOWN: u32 = u32::MAX - 1;

    /// Number of rows that are labelled; of [`Labels::Tokens`] and [`Labels::Words`] the number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Classes(ids) => ids.len(),
            Self::Numbers(values) => values.len(),
            Self::MultiHot { values, width } => values.len().checked_div(*width).unwrap_or(0),
            Self::Tokens { trained } => trained.len(),
            Self::Words { classes, .. } => classes.len(),
        }
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tokenized rows: one flat list of ids and the places where rows start.
///
/// Lists beyond [`crate::SPILL_BYTES`] each are kept in temporary files, so that memory does not
/// grow with the data; see [`crate::LoadOptions::spill`]. A subset shares the rows of its set.
#[derive(Debug, Clone)]
pub struct Dataset {
    rows: Arc<Rows>,
    /// The rows of a subset.
    chosen: Option<Arc<Store<u64>>>,
}

/// The rows as loaded.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) ids: Store<u32>,
    /// One a token if any row has a second segment, else empty.
    pub(crate) type_ids: Store<u8>,
    /// Start of every row, and the end.
    pub(crate) starts: Store<u64>,
    pub(crate) labels: LabelStore,
    pub(crate) label_map: Option<LabelMap>,
    /// See [`Dataset::choices`].
    pub(crate) choices: Option<Store<u32>>,
}

impl From<Rows> for Dataset {
    fn from(rows: Rows) -> Self {
        let rows = Arc::new(rows);
        Self { rows, chosen: None }
    }
}

impl Dataset {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.chosen {
            Some(chosen) => chosen.len(),
            None => self.rows.starts.len() - 1,
        }
    }

    /// Whether there are no rows; loading never returns such a set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        match &self.chosen {
            Some(_) => (0..self.len()).map(|row| self.length(row)).sum(),
            None => self.rows.ids.len(),
        }
    }

    /// Whether rows are kept in temporary files.
    pub fn is_spilled(&self) -> bool {
        self.rows.ids.is_mapped()
    }

    /// Length of every row in tokens, as [`BatchPlan::new`] wants them. Takes eight bytes a row;
    /// [`Dataset::plan`] does without.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|row| self.length(row)).collect()
    }

    /// The batches of one epoch, see [`BatchPlan::new`].
    ///
    /// # Errors
    /// As [`BatchPlan::new`].
    pub fn plan(&self, batch_size: usize, seed: u64, epoch: u64) -> Result<BatchPlan, DataError> {
        BatchPlan::draw(self.len(), &|row| self.length(row), batch_size, seed, epoch)
    }

    /// Token ids of a row.
    pub fn ids(&self, row: usize) -> Option<&[u32]> {
        self.rows.ids.get(self.span(self.place(row)?))
    }

    /// The greatest token id, to be compared with the model's vocabulary.
    pub fn max_id(&self) -> Option<u32> {
        let rows = (0..self.len()).filter_map(|row| self.ids(row));
        rows.flatten().copied().max()
    }

    /// Labels of all rows, in memory: of a large set rather take those of its batches.
    pub fn labels(&self) -> Labels {
        let places = (0..self.len()).filter_map(|row| self.place(row));
        self.rows.labels.select(places, &self.rows.starts)
    }

    /// Number of tokens to predict, for language models, or of words with a label; 0 otherwise.
    pub fn targets(&self) -> usize {
        let places = (0..self.len()).filter_map(|row| self.place(row));
        places
            .map(|place| self.rows.labels.targets(place, self.span(place)))
            .sum()
    }

    /// What the rows chose in [`LoadOptions::choice`](crate::LoadOptions), as numbers of the names there;
    /// `None` if they were not asked.
    pub fn choices(&self) -> Option<Vec<u32>> {
        let choices = self.rows.choices.as_ref()?;
        let places = (0..self.len()).filter_map(|row| self.place(row));
        Some(places.map(|place| choices[place]).collect())
    }

    /// Names of the classes, for classification.
    pub fn label_map(&self) -> Option<&LabelMap> {
        self.rows.label_map.as_ref()
    }

    /// Rows `indices`, packed.
    ///
    /// # Errors
    /// [`DataError::NoSuchRow`] for an index outside the set.
    pub fn batch(&self, indices: &[usize]) -> Result<Batch, DataError> {
        let places = self.places(indices)?;
        let tokens = places.iter().map(|&place| self.span(place).len()).sum();
        let mut batch = Batch {
            ids: Vec::with_capacity(tokens),
            type_ids: Vec::with_capacity(tokens),
            row_starts: Vec::with_capacity(indices.len() + 1),
            labels: self
                .rows
                .labels
                .select(places.iter().copied(), &self.rows.starts),
            indices: indices.to_vec(),
        };
        batch.row_starts.push(0);
        for place in places {
            let span = self.span(place);
            let segments = self.rows.type_ids.get(span.clone()).unwrap_or_default();
            batch
                .type_ids
                .extend(segments.iter().map(|&t| u32::from(t)));
            batch.ids.extend_from_slice(&self.rows.ids[span]);
            batch.row_starts.push(batch.ids.len());
        }
        batch.type_ids.resize(batch.ids.len(), 0);
        Ok(batch)
    }

    /// The data set of some rows, in the order given. It shares the rows and copies none.
    ///
    /// # Errors
    /// [`DataError::NoSuchRow`] for an index outside the set.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        let places = self.places(indices)?;
        let chosen: Vec<u64> = places.into_iter().map(|place| place as u64).collect();
        Ok(self.of(chosen.into()))
    }

    /// Indices `(fit, select)`, the second a `fraction` of the rows: by class where rows have
    /// classes, see [`split_stratified`]. Of a large set rather take [`Dataset::split_sets`].
    ///
    /// # Errors
    /// [`DataError::Split`] for fewer than two rows or a fraction not between 0 and 1.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        if let LabelStore::Classes { .. } = self.rows.labels
            && let Labels::Classes(classes) = self.labels()
        {
            return split_stratified(&classes, fraction, seed);
        }
        split(self.len(), fraction, seed)
    }

    /// The sets `(fit, select)` of [`Dataset::split`]. Beyond a million rows each row is drawn by
    /// itself, so that nothing has to be listed in memory: shares are then right on average, and
    /// every class keeps a row to fit on.
    ///
    /// # Errors
    /// As [`Dataset::split`], and [`DataError::Spill`].
    pub fn split_sets(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        if self.len() <= LISTED_ROWS {
            let (fit, select) = self.split(fraction, seed)?;
            return Ok((self.subset(&fit)?, self.subset(&select)?));
        }
        let class = |row| self.rows.labels.class(self.place(row).unwrap_or(0));
        let mut sides = [Writer::new(SPILL_BYTES), Writer::new(SPILL_BYTES)];
        choose(self.len(), &class, fraction, seed, |row, selected| {
            let place = self.place(row).unwrap_or(0) as u64;
            sides[usize::from(selected)].push(place)
        })?;
        let [fit, select] = sides;
        Ok((self.of(fit.finish()?), self.of(select.finish()?)))
    }

    fn of(&self, chosen: Store<u64>) -> Self {
        let rows = Arc::clone(&self.rows);
        let chosen = Some(Arc::new(chosen));
        Self { rows, chosen }
    }

    /// Which of the rows that were loaded a row is, counted from 0: of a whole set itself, of a subset that of the file.
    pub fn loaded_row(&self, row: usize) -> Option<usize> {
        self.place(row)
    }

    /// Which of the loaded rows a row is.
    fn place(&self, row: usize) -> Option<usize> {
        match &self.chosen {
            Some(chosen) => chosen.get(row).map(|&place| place as usize),
            None => (row < self.len()).then_some(row),
        }
    }

    fn places(&self, indices: &[usize]) -> Result<Vec<usize>, DataError> {
        let rows = self.len();
        let place = |&index: &usize| {
            self.place(index)
                .ok_or(DataError::NoSuchRow { index, rows })
        };
        indices.iter().map(place).collect()
    }

    /// The tokens of a loaded row.
    fn span(&self, place: usize) -> Range<usize> {
        self.rows.starts[place] as usize..self.rows.starts[place + 1] as usize
    }

    fn length(&self, row: usize) -> usize {
        self.place(row).map_or(0, |place| self.span(place).len())
    }
}

impl PartialEq for Dataset {
    /// Whether the rows are the same, wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        let all: Vec<usize> = (0..self.len()).collect();
        self.len() == other.len()
            && self.label_map() == other.label_map()
            && self.choices() == other.choices()
            && self.batch(&all).ok() == other.batch(&all).ok()
    }
}
