#![warn(missing_docs)]
//! Low-rank adapters in the files of Hugging Face PEFT: LoRA
//! ([2106.09685](https://arxiv.org/abs/2106.09685)), rank-stabilised LoRA
//! ([2312.03732](https://arxiv.org/abs/2312.03732)), LoRA+
//! ([2402.12354](https://arxiv.org/abs/2402.12354)), PiSSA
//! ([2404.02948](https://arxiv.org/abs/2404.02948)) and OLoRA
//! ([2406.01775](https://arxiv.org/abs/2406.01775)) as starts of LoRA, DoRA
//! ([2402.09353](https://arxiv.org/abs/2402.09353)), AdaLoRA
//! ([2303.10512](https://arxiv.org/abs/2303.10512)) and VeRA
//! ([2310.11454](https://arxiv.org/abs/2310.11454)); Sine-LoRA
//! ([2403.19243](https://arxiv.org/abs/2403.19243)) and Deep LoRA
//! ([2406.04112](https://arxiv.org/abs/2406.04112)).

mod adalora;
mod config;
mod deep;
mod dora;
mod init;
mod lora;
mod lorta;
mod method;
mod offset;
mod sine;
mod tokens;
mod vera;

pub use adalora::{AdaLora, AdaLoraConfig, AdaLoraMethod, Budget};
pub use config::{LoraConfig, LoraInit};
pub use deep::{Bases, DeepLora, DeepLoraConfig, DeepLoraFull, DeepLoraMethod, gradient_bases};
pub use dora::Dora;
pub use lora::{Lora, LowRank};
pub use lorta::{Lorta, LortaConfig, LortaMethod, LortaPlace};
pub use method::LoraMethod;
pub use offset::OffsetLora;
pub use peft_linalg as linalg;
pub use sine::{SineLora, SineLoraConfig, SineLoraMethod};
pub use tokens::TokenRows;
pub use vera::{Projections, Vera, VeraConfig, VeraMethod, torch_kaiming_uniform};
