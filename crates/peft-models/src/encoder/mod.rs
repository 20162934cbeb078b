//! The encoder that all families of the BERT kind share: post-norm blocks, or pre-norm ones for ModernBERT.

mod block;
mod layer;
mod relative;
mod sequence;
mod stack;

pub use block::EncoderLayer;
pub use layer::Layer;
pub use relative::Relative;
pub use sequence::{HeadSpec, SequenceModel};
pub use stack::Encoder;
