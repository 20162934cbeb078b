#![warn(missing_docs)]
//! Low-rank adapters: LoRA ([2106.09685](https://arxiv.org/abs/2106.09685)) and rank-stabilised
//! LoRA ([2312.03732](https://arxiv.org/abs/2312.03732)) and VeRA
//! ([2310.11454](https://arxiv.org/abs/2310.11454)), in the files of Hugging Face PEFT; Deep LoRA
//! ([2406.04112](https://arxiv.org/abs/2406.04112)), and the [deep matrix completion](completion) of the
//! same paper.

pub mod completion;
mod config;
mod deep;
pub mod dense;
mod lora;
mod method;
mod vera;

pub use config::{LoraConfig, LoraInit};
pub use deep::{Bases, DeepLora, DeepLoraConfig, DeepLoraFull, DeepLoraMethod, gradient_bases};
pub use lora::Lora;
pub use method::LoraMethod;
pub use vera::{Projections, Vera, VeraConfig, VeraMethod, torch_kaiming_uniform};
