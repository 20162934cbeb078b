//! Factors on activations.

mod adapter;
mod config;
mod method;

pub use adapter::Ia3;
pub use config::{FeedForwardModules, Ia3Config};
pub use method::Ia3Method;
