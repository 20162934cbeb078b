//! What an adapter of one weight is.

mod choice;
mod context;
mod contract;
mod dynamic;
mod rows;
mod set;
mod whole;

pub use choice::{AdapterChoice, BASE, check_adapter_name};
pub use context::AdapterContext;
pub(crate) use context::Chosen;
pub use contract::{BaseLinear, Cost, WeightAdapter, add_delta};
pub use dynamic::DynAdapter;
pub use rows::RowGroups;
pub use set::AdapterSet;
pub(crate) use set::{MARK, SET};
pub(crate) use whole::CONTAINER as WHOLE;
pub use whole::Whole;
