//! The family as adapters.

mod delta;
mod layout;

pub use delta::SparseDelta;
