//! What an adapter of one weight is.

mod context;
mod contract;
mod dynamic;

pub use context::AdapterContext;
pub use contract::{BaseLinear, Cost, WeightAdapter, add_delta};
pub use dynamic::DynAdapter;
