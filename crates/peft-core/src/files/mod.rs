//! Adapters in the files of Hugging Face PEFT.

mod config;
mod load;
mod loaded;
mod save;
mod shared;

pub use config::AdapterConfigExt;
pub use load::{load_adapter, load_adapter_as};
pub use loaded::{LoadedAdapter, read_adapter};
pub use save::{
    AdapterPart, adapter_tensors, save_adapter, save_adapter_as, save_parts, saved_parameters,
};
