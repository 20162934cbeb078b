//! Single tokens, trained beside low-rank adapters.

mod adapter;
mod choice;

pub use adapter::TokenRows;
pub(crate) use adapter::{cost, rows_of};
pub(crate) use choice::TokenChoice;
