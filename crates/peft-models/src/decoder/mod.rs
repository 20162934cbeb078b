//! Decoders: one pre-norm block with switches, for all families, and a second for state spaces in place of attention.

mod block;
mod layer;
mod model;
mod rope;
mod space;
mod stack;

pub use block::DecoderBlock;
pub use layer::DecoderLayer;
pub use model::DecoderModel;
pub(crate) use rope::{Positions, RopeTable, RopeTables};
pub use space::SpaceLayer;
pub use stack::Decoder;
