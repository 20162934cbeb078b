#![warn(missing_docs)]
//! Pretrained transformers from unmodified Hugging Face folders, ready for adapters.
//!
//! Encoders of the BERT family (BERT and MiniLM, RoBERTa, XLM-RoBERTa, DistilBERT, ALBERT) share
//! one implementation over packed rows; a family is a table of names and a few switches. Models do
//! not know the adapter methods: their linear layers take whatever adapter their weight carries.

mod batch;
mod config;
mod encoder;
mod error;
mod folder;
mod layout;
mod loader;
mod recompute;
mod sequence;
mod trace;

pub use batch::PackedBatch;
pub use config::{Activation, EncoderConfig, Family};
pub use encoder::{Embedding, Encoder, Layer, LayerNorm};
pub use error::ModelError;
pub use folder::{HeadState, ModelFolder};
pub use layout::ModelLayout;
pub use loader::LoadReport;
pub use sequence::{HeadSpec, SequenceModel};
