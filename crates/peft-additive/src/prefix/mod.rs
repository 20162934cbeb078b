//! Keys and values before those of every sequence.

mod adapter;
mod config;
mod method;
mod whole;

pub use adapter::{Prefix, ProjectedPrefix};
pub use config::{PrefixConfig, PrefixInit};
pub(crate) use config::{expect_hidden, expect_rows};
pub use method::PrefixMethod;
