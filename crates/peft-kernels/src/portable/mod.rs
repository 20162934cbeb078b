//! The operations composed of Burn's own: they run on every backend and serve as the reference for
//! the fast bodies.
//!
//! The functions are those of the crate root without shape checks; see there for equations and
//! shapes.

mod activation;
mod adamw;
mod attention;
mod conv;
mod cross_entropy;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod rescale;
mod rope;
mod scan;
mod sine;
mod ssd;
#[cfg(any(feature = "flex", feature = "ndarray", feature = "cubecl"))]
mod ssd_grad;

pub use activation::{activation, bias_activation, gated, gelu, silu, softmax};
pub use adamw::{adamw, norms};
pub use attention::{attention, biased_attention, cached_attention, prefix_attention};
pub use conv::{causal_conv1d, conv_state};
pub use cross_entropy::{cross_entropy, head_cross_entropy};
pub use dropout::dropout;
pub use embedding::{embedding, embedding_layer_norm};
pub use linear::{linear, linear_core, linear_low_rank, linear_plus};
pub use norm::{add_layer_norm, add_rms_norm, layer_norm, rms_norm};
pub use rescale::{rescale, squared_column_norms};
pub use rope::rope;
pub use scan::selective_scan;
pub use sine::linear_sine;
#[cfg(any(feature = "flex", feature = "ndarray", feature = "cubecl"))]
pub(crate) use ssd::scanned;
pub use ssd::ssd;
#[cfg(any(feature = "flex", feature = "ndarray", feature = "cubecl"))]
pub(crate) use ssd_grad::{SsdGrads, ssd_grads};
