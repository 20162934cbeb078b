#![warn(missing_docs)]
//! Low-rank adapters in the files of Hugging Face PEFT: LoRA
//! ([2106.09685](https://arxiv.org/abs/2106.09685)), rank-stabilised LoRA
//! ([2312.03732](https://arxiv.org/abs/2312.03732)), LoRA+
//! ([2402.12354](https://arxiv.org/abs/2402.12354)), DoRA
//! ([2402.09353](https://arxiv.org/abs/2402.09353)) and AdaLoRA
//! ([2303.10512](https://arxiv.org/abs/2303.10512)).

mod adalora;
mod config;
mod dora;
mod lora;
mod method;

pub use adalora::{AdaLora, AdaLoraConfig, AdaLoraMethod, Budget};
pub use config::{LoraConfig, LoraInit};
pub use dora::Dora;
pub use lora::{Lora, LowRank};
pub use method::LoraMethod;
