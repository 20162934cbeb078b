//! The family as adapters.

mod delta;
mod gradient_core;
mod layout;

pub use delta::SparseDelta;
pub(crate) use gradient_core::core_cost;
pub use gradient_core::{CoreParts, GradientCore};
