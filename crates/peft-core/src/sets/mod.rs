//! Several adapters on one model, by name.

mod active;
mod methods;
mod roster;

pub use active::{remove_adapter, set_active};
pub use methods::{MethodList, Methods, NamedMethods, Owner};
pub use roster::{AdapterRoster, AdapterRows};
