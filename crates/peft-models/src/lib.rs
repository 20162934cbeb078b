#![warn(missing_docs)]
//! Pretrained transformers and state-space models from unmodified Hugging Face folders, ready for
//! adapters.
//!
//! - Encoders of the BERT family (BERT and MiniLM, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, ALBERT,
//!   ELECTRA, MPNet, DeBERTa-v2 and -v3, ModernBERT), decoders
//!   of pre-norm blocks (Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi-3, GPT-2, GPT-NeoX, Granite,
//!   SmolLM3), state-space models (Mamba, Mamba-2, FalconMamba) and a hybrid of both (Jamba without experts), each kind one
//!   implementation over rows packed without padding.
//! - [`Description`]: what an architecture is made of: names, shapes, roles, blocks. Loading, layouts,
//!   default targets and estimates read it; a family is its description and a few switches.
//! - [`Network`]: a model as a chain of blocks, which is what passes over it are written against.
//! - [`SequenceCache`]: what a model has computed of a sequence, so that a further token costs a row.
//!
//! Models do not know the adapter methods: their linear layers take whatever adapter their weight
//! carries.

mod ahead;
mod batch;
mod cache;
mod config;
mod decoder;
mod description;
mod encoder;
mod error;
mod folder;
mod leftover;
mod loader;
mod mamba;
mod model;
mod network;
mod parts;
mod recompute;
mod trace;
mod transparent;
mod work;

pub use ahead::Before;
pub use batch::{PackedBatch, PackedInput};
pub use cache::SequenceCache;
pub use config::{
    Activation, DecoderConfig, Disentangled, EncoderConfig, Family, FeedForwardLayout, MambaConfig,
    ModelConfig, NormKind, Pooling, QkvLayout, RelativePositions, RopeConfig, RopeScaling,
    SpaceBlocks, StateSpace,
};
pub use decoder::{Decoder, DecoderBlock, DecoderLayer, DecoderModel, SpaceLayer};
pub use description::{
    BlockDescription, Description, Flow, HeadKind, ModelLayout, Part, PartKind, Role, SlotPart,
};
pub use encoder::{Encoder, EncoderLayer, HeadSpec, Layer, Relative, SequenceModel};
pub use error::ModelError;
pub use folder::{HeadState, ModelFolder, Storage, TiedHead};
pub use loader::{LoadReport, MAPPED};
pub use mamba::{Conv1d, Mamba, Mamba2Block, MambaBlock, MambaLayer, MambaModel};
pub use model::Model;
pub use network::Network;
pub use parts::{LayerNorm, Norm, Projection, RmsNorm};
pub use peft_core::{
    Output,
    nn::{Embedding, LanguageHead, TransposedLinear},
};
pub use work::{
    AttentionWork, BlockWork, DecoderFlow, EncoderFlow, LinearWork, Mamba2Flow, MambaFlow,
    SpaceFlow,
};
