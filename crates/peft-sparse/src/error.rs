use thiserror::Error;

/// Why a sparse adapter cannot be built as asked.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SparseError {
    /// A weight that is empty or has too many entries for a 32-bit place.
    #[error(
        "a weight of {} x {} cannot be indexed; it must have 1 to 2^31 - 1 entries", shape[0], shape[1]
    )]
    Shape {
        /// Outputs and inputs of the weight.
        shape: [usize; 2],
    },
    /// Tiles of no extent.
    #[error("tiles of {} x {} cover nothing; both sides must be 1 or more", tile[0], tile[1])]
    Tile {
        /// Sides of the tiles.
        tile: [usize; 2],
    },
    /// No tile, or more than there are.
    #[error("{count} tiles do not fit a grid of {available}; use 1 to {available}")]
    Count {
        /// Tiles asked for.
        count: usize,
        /// Tiles of the grid.
        available: usize,
    },
    /// A tile outside the grid.
    #[error("tile {index} is number {tile}, but the grid has {available}")]
    Outside {
        /// Place of the tile in the list.
        index: usize,
        /// The tile's number, row by row of the grid.
        tile: u64,
        /// Tiles of the grid.
        available: usize,
    },
    /// A tile listed twice, or after a later one.
    #[error("tile {index} is number {tile}, which does not come after the one before it")]
    Order {
        /// Place of the tile in the list.
        index: usize,
        /// The tile's number, row by row of the grid.
        tile: u64,
    },
    /// A code of indices that is damaged, or of another support.
    #[error("the code of the indices is damaged: {0}")]
    Code(&'static str),
    /// A score that is no number: the weight or gradient behind it is broken.
    #[error("the score of entry ({row}, {col}) is not finite; check weight and gradient for NaN")]
    NotFinite {
        /// Output of the entry.
        row: usize,
        /// Input of the entry.
        col: usize,
    },
}
