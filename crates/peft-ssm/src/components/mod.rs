//! Tuning of chosen components of state-space blocks.

mod adapters;
mod config;
mod method;

pub use adapters::{PieceLora, WholeWeight};
pub use config::{ComponentPreset, ComponentsConfig};
pub use method::ComponentsMethod;
