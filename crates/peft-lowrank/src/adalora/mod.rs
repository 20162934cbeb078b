//! Low-rank updates whose ranks are shared out over the weights while they are trained.

mod adapter;
mod budget;
mod config;
mod files;
mod method;
mod score;

pub use adapter::AdaLora;
pub use budget::Budget;
pub use config::AdaLoraConfig;
pub use method::AdaLoraMethod;
