//! Hugging Face files without a tensor library: checkpoints, PEFT adapter folders, adapter
//! configurations and target patterns.
//!
//! | module | what it holds |
//! |---|---|
//! | [`checkpoint`] | model folders, `.safetensors` and PyTorch files, memory-mapped and validated |
//! | [`gguf`] | llama.cpp's files: models, LoRA adapters and tokenizers |
//! | [`blocks`] | the block types of quantised weights, and NF4 |
//! | [`bitsandbytes`] | NF4 weights in safetensors files |
//! | [`stored`], [`shared`] | weights as they are stored, still mapped |
//! | [`writer`] | streamed `.safetensors` writing, byte for byte what the official crate writes |
//! | [`atomic`] | files and directories that appear whole or not at all |
//! | [`bounded`] | files read up to a limit |
//! | [`config`] | `adapter_config.json`: reading, checking, writing the smallest set of keys |
//! | [`targets`] | which modules an adapter applies to, with PEFT's matching rules |
//! | [`mlx`] | adapter folders of MLX-LM |
//! | [`adapterhub`] | adapter folders of AdapterHub |
//! | [`adapter`] | adapter weight files, their key naming, and saving an adapter folder |
//! | [`fingerprint`] | which weights a checkpoint holds, in a few bytes |
//! | [`summary`] | what a checkpoint or an adapter holds |
//! | [`near`] | "did you mean" suggestions |
//! | [`python_json`] | JSON with Python's words for infinities |
//!
//! Every reader treats its input as hostile: sizes are bounded, offsets checked, names confined to
//! their folder, and a bad file is an error that names the file, never a panic.

pub mod adapter;
pub mod adapterhub;
pub mod atomic;
pub mod bitsandbytes;
pub mod bounded;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod fingerprint;
pub mod gguf;
pub mod host;
pub(crate) mod json;
pub(crate) mod lora;
pub mod mlx;
pub mod near;
pub mod python_json;
pub mod shared;
pub mod stored;
pub mod summary;
pub mod targets;
pub(crate) mod torch;
pub mod writer;

pub use adapter::{AdapterFile, save_adapter};
pub use bitsandbytes::Nf4Tensor;
pub use checkpoint::{Checkpoint, TensorInfo, TensorView};
pub use config::{AdapterConfig, AdapterConfigBuilder, peft_has, peft_knows};
pub use error::{FormatError, Result, shorten};
pub use fingerprint::Fingerprint;
pub use gguf::{GgufFile, GgufLora, GgufModel};
pub use host::HostTensor;
pub use lora::LoraPair;
pub use mlx::MlxAdapter;
pub use peft_blocks::{self as blocks, BlockType};
pub use safetensors::Dtype;
pub use shared::SharedBytes;
pub use stored::StoredTensor;
pub use targets::{Bias, ModuleInfo, ModuleKind, TargetError, TargetModules, TargetSpec};
pub use writer::{ModelWriter, SafetensorsWriter, TensorSpec};

/// The `__metadata__` strings of a safetensors file, in the order in which the file holds them.
pub type Metadata = indexmap::IndexMap<String, String>;
