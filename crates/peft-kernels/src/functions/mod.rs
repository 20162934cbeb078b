//! Public functions over `Tensor<D>`: they check shapes and choose a body.

mod activation;
mod adamw;
mod attention;
mod blocks;
mod conv;
mod cross_entropy;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod low_rank;
mod norms;
mod rescale;
mod rms_norm;
mod rope;
mod scan;
mod sine;
mod softmax;
mod sparse_core;
mod ssd;
mod top_gradient;
mod updated;

pub use activation::{Activation, GeluKind, bias_activation, gated, gelu, silu};
pub use adamw::{AdamWStep, AdamWTensor, adamw};
pub use attention::{
    AttentionOptions, AttentionPrefix, attention, biased_attention, cached_attention,
    prefix_attention,
};
pub use blocks::{block_matrix, block_type, decoded, has_blocks};
pub use conv::{causal_conv1d, conv_state};
pub use cross_entropy::{cross_entropy, head_cross_entropy};
pub use dropout::{Dropout, dropout};
pub use embedding::{Lookup, NormParameters, embedding, embedding_layer_norm};
pub use layer_norm::{add_layer_norm, layer_norm};
pub use linear::linear;
pub use low_rank::{linear_core, linear_low_rank, linear_plus};
pub use norms::norms;
pub use rescale::{rescale, squared_column_norms};
pub use rms_norm::{add_rms_norm, rms_norm};
pub use rope::rope;
pub use scan::{SelectiveScan, selective_scan};
pub use sine::linear_sine;
pub use softmax::softmax;
pub use sparse_core::{CoreEntry, SparseCore, sparse_core};
pub use ssd::{StateSpaceDual, ssd};
pub use top_gradient::{TopGradient, top_gradient};
pub use updated::linear_updated;
