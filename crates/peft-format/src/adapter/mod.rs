//! PEFT adapter folders: `adapter_model.safetensors`, or `adapter_model.bin`, and its keys.

mod file;
mod key;
mod save;

pub use file::AdapterFile;
pub(crate) use file::{pt_metadata, write_tensors};
pub use key::{
    AdapterKey, PREFIX, bias_key, copied_name, is_token_rows, join_key, saved_name, split_key,
    split_named_key, strip_prefix,
};
pub use save::{adapter_size, save_adapter};

/// Name of the weights in an adapter folder.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";

/// Name of the weights in an adapter folder of PEFT before 0.7, which is read and never written.
pub const TORCH_WEIGHTS_NAME: &str = "adapter_model.bin";

#[cfg(test)]
mod tests;
