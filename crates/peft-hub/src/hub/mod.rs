//! Models of the Hugging Face Hub.

mod cache;
mod gguf;
mod id;

#[cfg(feature = "download")]
mod client;
#[cfg(feature = "download")]
mod download;
#[cfg(feature = "download")]
mod listing;
#[cfg(feature = "download")]
mod transfer;

pub use cache::HubCache;
pub use id::RepoId;

#[cfg(feature = "download")]
pub use client::{Client, Limits};
#[cfg(feature = "download")]
pub use download::download;
