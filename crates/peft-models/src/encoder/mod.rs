//! The encoder that all families share.

mod layer;
mod names;
mod parts;
mod stack;

pub use layer::Layer;
pub(crate) use layer::dropped;
pub(crate) use names::Names;
pub use parts::{Embedding, LayerNorm};
pub use stack::Encoder;
