//! Bottleneck adapters.

mod adapter;
mod config;
mod method;

pub use adapter::Bottleneck;
pub use config::{BottleneckConfig, BottleneckInit, BottleneckInput, NonLinearity};
pub use method::BottleneckMethod;
