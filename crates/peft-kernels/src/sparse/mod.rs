//! Products with sparse matrices, on the host.

mod pattern;
mod scalar;
mod tile;
mod update;

pub use pattern::SparsePattern;
pub use scalar::Scalar;
pub use update::SparseUpdate;
