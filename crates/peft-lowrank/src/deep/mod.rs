//! Deep LoRA (2406.04112): a product of three matrices, in the subspaces that it is trained in.

mod bases;
mod compressed;
mod config;
mod full;
mod method;

pub use bases::{Bases, gradient_bases};
pub use compressed::DeepLora;
pub use config::DeepLoraConfig;
pub use full::DeepLoraFull;
pub use method::DeepLoraMethod;
