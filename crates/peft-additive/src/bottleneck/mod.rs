//! Bottleneck adapters.

mod adapter;
mod config;
mod form;
mod joint;
mod method;

pub use adapter::Bottleneck;
pub use config::{BottleneckConfig, BottleneckInit, BottleneckInput, NonLinearity};
pub use joint::{SerialParallel, SerialParallelConfig, SerialParallelMethod};
pub use method::{BottleneckKind, BottleneckMethod};
