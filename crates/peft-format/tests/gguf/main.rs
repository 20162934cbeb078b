//! GGUF files: reading, refusing, writing, and what becomes of models, adapters and tokenizers.

mod base;
mod build;
mod hostile;
mod lora;
mod models;
mod mutate;
mod real;
mod state_spaces;
mod tokenizers;
