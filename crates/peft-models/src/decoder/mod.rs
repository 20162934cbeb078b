//! Decoders: one pre-norm block with switches, for all families.

mod layer;
mod model;
mod rope;
mod stack;

pub use layer::DecoderLayer;
pub use model::DecoderModel;
pub(crate) use rope::{Positions, RopeTable, RopeTables};
pub use stack::Decoder;
