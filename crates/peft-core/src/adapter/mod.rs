//! What an adapter of one site is.

mod choice;
mod context;
mod contract;
mod dynamic;
mod parameter;
mod rows;
mod set;
mod slot;
mod whole;

pub use choice::{AdapterChoice, BASE, check_adapter_name};
pub use context::AdapterContext;
pub(crate) use context::Chosen;
pub use contract::{BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta};
pub use dynamic::DynAdapter;
pub(crate) use dynamic::IMPLIED;
pub use parameter::ParameterAdapter;
pub use rows::RowGroups;
pub use set::AdapterSet;
pub(crate) use set::{MARK, SET};
pub use slot::SlotAdapter;
pub(crate) use whole::CONTAINER as WHOLE;
pub use whole::Whole;
