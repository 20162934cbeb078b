//! One packed batch.

use crate::dataset::Labels;

/// Rows laid end to end, without padding.
///
/// Row `i` owns tokens `row_starts[i]..row_starts[i + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Segment of each token (0 or 1), as many as `ids`.
    pub type_ids: Vec<u32>,
    /// Where rows start, and at last the number of tokens ("cu_seqlens"): one more than rows.
    pub row_starts: Vec<usize>,
    /// Labels of the rows.
    pub labels: Labels,
    /// Each row's index in the data set.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.indices.len()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Length of each row in tokens.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.row_starts.windows(2).map(|w| w[1] - w[0])
    }

    /// Length of the longest row.
    pub fn max_length(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }
}
