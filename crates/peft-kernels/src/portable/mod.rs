//! The operations composed of Burn's own: they run on every backend and serve as the reference for
//! the fast bodies.
//!
//! The functions are those of the crate root without shape checks; see there for equations and
//! shapes.

mod attention;
mod cross_entropy;
mod dropout;
mod elementwise;
mod linear;

pub use attention::attention;
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use elementwise::{add_layer_norm, gelu, layer_norm};
pub use linear::{linear, linear_low_rank, linear_plus};
