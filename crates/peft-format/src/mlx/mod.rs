//! Adapter folders of MLX-LM: `adapters.safetensors` and `adapter_config.json`.
//!
//! A module is `x W + scale · x A B` with `lora_a` `[in, rank]` and `lora_b` `[rank, out]`, the transposes
//! of PEFT's `lora_A` and `lora_B`; DoRA adds `m`, the lengths of the weight's outputs. Rank and scale are
//! one for the whole adapter. The configuration is that of the training command; of it MLX-LM reads
//! `fine_tune_type`, `num_layers` (blocks from the last that have adapters) and `lora_parameters`: `rank`,
//! `scale`, `dropout` and `keys` (modules by their path within a block, or within the model).
//!
//! [`AdapterConfig::read`](crate::AdapterConfig::read) and [`AdapterFile::read`](crate::AdapterFile::read)
//! give such a folder in PEFT's words. [`MlxAdapter`] is written.

mod names;
mod read;
mod write;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use names::{mlx_module, peft_module};
pub(crate) use read::{config, tensors};
pub use write::{MlxAdapter, MlxModule};

/// Name of the weights in a folder of MLX-LM.
pub const WEIGHTS_NAME: &str = "adapters.safetensors";

/// Keys of the configuration.
const KIND: &str = "fine_tune_type";
const PARAMETERS: &str = "lora_parameters";

/// Suffixes of the tensors.
const A: &str = "lora_a";
const B: &str = "lora_b";
const LENGTHS: &str = "m";

/// Whether an `adapter_config.json` is one of MLX-LM.
pub(crate) fn is_config(fields: &Map<String, Value>) -> bool {
    !fields.contains_key("peft_type")
        && [KIND, PARAMETERS]
            .iter()
            .any(|key| fields.contains_key(*key))
}

/// The weights of a folder of MLX-LM.
pub(crate) fn weights_in(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(WEIGHTS_NAME);
    path.is_file().then_some(path)
}

/// Whether a path is that of such weights.
pub(crate) fn is_weights(path: &Path) -> bool {
    // Checkpoints of a run are `0000100_adapters.safetensors`.
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == WEIGHTS_NAME || name.ends_with("_adapters.safetensors"))
}
