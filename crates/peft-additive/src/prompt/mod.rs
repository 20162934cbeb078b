//! Rows before the embedded tokens of every sequence.

mod adapter;
mod config;
mod method;

pub use adapter::{EncodedPrompt, Prompt};
pub use config::{PTuningConfig, PromptConfig, PromptInit};
pub use method::{PTuningMethod, PromptMethod};
