#![warn(missing_docs)]
//! Low-rank adapters: LoRA ([2106.09685](https://arxiv.org/abs/2106.09685)) and rank-stabilised
//! LoRA ([2312.03732](https://arxiv.org/abs/2312.03732)), in the files of Hugging Face PEFT.

mod config;
mod lora;
mod method;

pub use config::{LoraConfig, LoraInit};
pub use lora::Lora;
pub use method::LoraMethod;
