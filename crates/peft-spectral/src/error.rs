use thiserror::Error;

/// Why a spectral adapter cannot be built as asked.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SpectralError {
    /// A support of no coefficient, or of more than the grid has.
    #[error("{count} coefficients do not fit a {rows} x {cols} grid; use 1 to {}", rows * cols)]
    Count {
        /// Coefficients asked for.
        count: usize,
        /// Output frequencies of the grid.
        rows: usize,
        /// Input frequencies of the grid.
        cols: usize,
    },
    /// An entry outside its grid.
    #[error("entry {index} is ({row}, {col}), outside the {rows} x {cols} grid")]
    OutsideGrid {
        /// Place of the entry in the list.
        index: usize,
        /// The entry's output frequency.
        row: usize,
        /// The entry's input frequency.
        col: usize,
        /// Output frequencies of the grid.
        rows: usize,
        /// Input frequencies of the grid.
        cols: usize,
    },
    /// An entry listed twice: its two coefficients would be one parameter with two values.
    #[error("entry ({row}, {col}) is listed twice")]
    Duplicate {
        /// Output frequency of the entry.
        row: usize,
        /// Input frequency of the entry.
        col: usize,
    },
    /// A support made for another grid than the weight's.
    #[error(
        "the support is for a {rows} x {cols} grid; this weight and basis have {} x {}",
        wanted[0], wanted[1]
    )]
    OtherGrid {
        /// Output frequencies of the support's grid.
        rows: usize,
        /// Input frequencies of the support's grid.
        cols: usize,
        /// The weight's grid.
        wanted: [usize; 2],
    },
    /// A grid that is empty or has more than 2²⁸ frequencies on a side.
    #[error("a grid of {rows} x {cols} frequencies cannot be indexed; each side must be 1 to 2^28")]
    Grid {
        /// Output frequencies of the grid.
        rows: usize,
        /// Input frequencies of the grid.
        cols: usize,
    },
    /// Scores of another shape than the grid.
    #[error("{found} scores were given for a {rows} x {cols} grid; {} are needed", rows * cols)]
    Scores {
        /// Scores given.
        found: usize,
        /// Output frequencies of the grid.
        rows: usize,
        /// Input frequencies of the grid.
        cols: usize,
    },
    /// A score that is no number: the weight or gradient behind it is broken.
    #[error("the score of entry ({row}, {col}) is not finite; check the weight for NaN")]
    NotFinite {
        /// Output frequency of the score.
        row: usize,
        /// Input frequency of the score.
        col: usize,
    },
    /// An energy share outside `[0, 1]`.
    #[error("the energy share is {0}; it must lie between 0 and 1")]
    Share(f64),
    /// A number of distance bands that is no number of bands.
    #[error("the number of distance bands is {0}; use 1 to 64")]
    Bands(u32),
    /// A wavelet without a table here (nor a working one in Hugging Face PEFT).
    #[error("unknown wavelet `{0}`; known: db1 to db10, sym2 to sym10, coif1 to coif4")]
    Wavelet(String),
    /// A block size that does not divide both sides of the weight.
    #[error(
        "a block size of {block} does not divide the weight's {out_features} x {in_features}; \
         use a common divisor"
    )]
    Block {
        /// The block size.
        block: usize,
        /// Rows of the weight.
        out_features: usize,
        /// Columns of the weight.
        in_features: usize,
    },
}
