#![warn(missing_docs)]
//! Models and packages fetched into a cache outside of any project, checked by size and sha256.
//!
//! Nothing here computes; nothing that computes depends on this crate.

mod archive;
mod bundle;
mod cache;
mod digest;
mod error;
mod hub;
mod minilm;
mod names;
mod package;
mod resolve;
mod smollm2;

pub use archive::{from_zip, read_limited};
pub use bundle::{Bundle, Made};
pub use cache::cache_folder;
pub use digest::{sha256, sha256_of};
pub use error::HubError;
#[cfg(feature = "download")]
pub use hub::{Client, Limits, download};
pub use hub::{HubCache, RepoId};
pub use minilm::{MINILM, MINILM_PACKAGE, minilm_files};
pub use package::{Package, Sources};
pub use resolve::{Access, minilm, resolve};
pub use smollm2::{SMOLLM2, SMOLLM2_PACKAGE, smollm2, smollm2_files};
