//! VeRA (2310.11454): vectors between two random projections that all layers share.

mod adapter;
mod config;
mod method;
mod projections;

pub use adapter::Vera;
pub use config::VeraConfig;
pub use method::VeraMethod;
pub use projections::{Projections, torch_kaiming_uniform};
