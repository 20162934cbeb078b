//! The family as adapters.

mod delta;
mod dense;
mod gradient_core;
mod layout;
mod meprop;

pub use delta::SparseDelta;
pub use dense::DenseDelta;
pub(crate) use dense::dense_cost;
pub(crate) use gradient_core::core_cost;
pub use gradient_core::{CoreParts, GradientCore};
pub use meprop::MeProp;
