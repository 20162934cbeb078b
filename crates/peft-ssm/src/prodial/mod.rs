//! Near-diagonal transforms of projections.

mod adapter;
mod method;

pub use adapter::ProDial;
pub use method::{ProDialConfig, ProDialMethod};
