//! State-space models: a recurrence written out, folders of the first implementation, files of GGUF, adapters on a hybrid, and what
//! is refused.

#[path = "../common/mod.rs"]
mod common;
mod folders;
mod gguf;
mod hybrid;
mod recurrence;
