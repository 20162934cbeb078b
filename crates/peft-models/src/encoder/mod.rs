//! The encoder that all families of the BERT kind share.

mod layer;
mod sequence;
mod stack;

pub use layer::Layer;
pub use sequence::{HeadSpec, SequenceModel};
pub use stack::Encoder;
