//! LoRTA (2410.04060): one low-rank tensor for all layers, matrices and heads.

mod adapter;
mod config;
mod method;

pub use adapter::{Lorta, LortaPlace};
pub use config::LortaConfig;
pub use method::LortaMethod;
