//! The family's methods: settings, masks, files.

mod common;
mod shira;
mod sparsegrad;
mod window;

pub use shira::{ShiraConfig, ShiraMask, ShiraMethod};
pub use sparsegrad::SparseGradMethod;
pub use window::{SparseGradConfig, SparseGradMask};
