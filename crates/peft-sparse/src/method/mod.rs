//! The family's methods: settings, masks, files.

mod coded;
mod common;
mod masked;
mod meprop;
mod shira;
mod sift;
mod smt;
mod sparsegrad;
mod spiel;

pub use masked::{MaskedConfig, MaskedKind, MaskedMethod};
pub use meprop::{MePropConfig, MePropMethod};
pub use shira::{ShiraConfig, ShiraMask, ShiraMethod};
pub use sift::{SiftConfig, SiftMethod};
pub use smt::{SmtConfig, SmtMethod, SmtPools, SmtScore, SmtShape};
pub use sparsegrad::{SparseGradConfig, SparseGradMask, SparseGradMethod};
pub use spiel::{SpielConfig, SpielGrowth, SpielMethod};
