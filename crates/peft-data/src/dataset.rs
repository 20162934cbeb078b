//! Tokenized rows, kept compactly.

use crate::batch::Batch;
use crate::error::DataError;
use crate::labels::LabelMap;
use crate::split::{split, split_stratified};

/// Labels of rows, in the rows' order.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Rows without labels.
    None,
    /// Class ids.
    Classes(Vec<u32>),
    /// Numbers to predict.
    Numbers(Vec<f32>),
}

impl Labels {
    /// Number of labels.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Classes(ids) => ids.len(),
            Self::Numbers(values) => values.len(),
        }
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of some rows, which must exist.
    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::None => Self::None,
            Self::Classes(ids) => Self::Classes(rows.iter().map(|&r| ids[r]).collect()),
            Self::Numbers(values) => Self::Numbers(rows.iter().map(|&r| values[r]).collect()),
        }
    }
}

/// Tokenized rows: one flat list of ids and the places where rows start.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub(crate) ids: Vec<u32>,
    /// One a token if any row has a second segment, else empty.
    pub(crate) type_ids: Vec<u8>,
    /// Start of every row, and the end.
    pub(crate) starts: Vec<usize>,
    pub(crate) labels: Labels,
    pub(crate) label_map: Option<LabelMap>,
}

impl Dataset {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no rows; loading never returns such a set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Length of every row in tokens, as [`crate::BatchPlan`] wants them.
    pub fn lengths(&self) -> Vec<usize> {
        self.starts.windows(2).map(|w| w[1] - w[0]).collect()
    }

    /// Token ids of a row.
    pub fn ids(&self, row: usize) -> Option<&[u32]> {
        let (start, end) = (*self.starts.get(row)?, *self.starts.get(row + 1)?);
        self.ids.get(start..end)
    }

    /// The greatest token id, to be compared with the model's vocabulary.
    pub fn max_id(&self) -> Option<u32> {
        self.ids.iter().copied().max()
    }

    /// Labels of all rows.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Names of the classes, for classification.
    pub fn label_map(&self) -> Option<&LabelMap> {
        self.label_map.as_ref()
    }

    /// Rows `indices`, packed.
    ///
    /// # Errors
    /// [`DataError::NoSuchRow`] for an index outside the set.
    pub fn batch(&self, indices: &[usize]) -> Result<Batch, DataError> {
        self.check(indices)?;
        let tokens = indices
            .iter()
            .map(|&r| self.starts[r + 1] - self.starts[r])
            .sum();
        let mut batch = Batch {
            ids: Vec::with_capacity(tokens),
            type_ids: Vec::with_capacity(tokens),
            row_starts: Vec::with_capacity(indices.len() + 1),
            labels: self.labels.select(indices),
            indices: indices.to_vec(),
        };
        batch.row_starts.push(0);
        for &row in indices {
            let range = self.starts[row]..self.starts[row + 1];
            if !self.type_ids.is_empty() {
                batch
                    .type_ids
                    .extend(self.type_ids[range.clone()].iter().map(|&t| u32::from(t)));
            }
            batch.ids.extend_from_slice(&self.ids[range]);
            batch.row_starts.push(batch.ids.len());
        }
        batch.type_ids.resize(batch.ids.len(), 0);
        Ok(batch)
    }

    /// The data set of some rows, in the order given.
    ///
    /// # Errors
    /// [`DataError::NoSuchRow`] for an index outside the set.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        let batch = self.batch(indices)?;
        let type_ids = match self.type_ids.is_empty() {
            true => Vec::new(),
            false => batch.type_ids.iter().map(|&t| t as u8).collect(),
        };
        Ok(Self {
            ids: batch.ids,
            type_ids,
            starts: batch.row_starts,
            labels: batch.labels,
            label_map: self.label_map.clone(),
        })
    }

    /// Indices `(fit, select)`, the second a `fraction` of the rows: by class where rows have
    /// classes, see [`split_stratified`].
    ///
    /// # Errors
    /// [`DataError::Split`] for fewer than two rows or a fraction not between 0 and 1.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        match &self.labels {
            Labels::Classes(classes) => split_stratified(classes, fraction, seed),
            _ => split(self.len(), fraction, seed),
        }
    }

    fn check(&self, indices: &[usize]) -> Result<(), DataError> {
        match indices.iter().find(|&&row| row >= self.len()) {
            Some(&index) => Err(DataError::NoSuchRow {
                index,
                rows: self.len(),
            }),
            None => Ok(()),
        }
    }
}
