//! Public functions over `Tensor<D>`: they check shapes and choose a body.

mod attention;
mod cross_entropy;
mod dropout;
mod gelu;
mod layer_norm;
mod linear;
mod low_rank;
mod updated;

pub use attention::{AttentionOptions, attention};
pub use cross_entropy::cross_entropy;
pub use dropout::{Dropout, dropout};
pub use gelu::{GeluKind, gelu};
pub use layer_norm::{add_layer_norm, layer_norm};
pub use linear::linear;
pub use low_rank::{linear_low_rank, linear_plus};
pub use updated::linear_updated;
