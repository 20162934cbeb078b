//! Low-rank factors below a sine, which gives the update full rank.

mod adapter;
mod config;
mod method;

pub use adapter::SineLora;
pub use config::SineLoraConfig;
pub use method::SineLoraMethod;
