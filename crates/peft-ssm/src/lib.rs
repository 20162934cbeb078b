#![warn(missing_docs)]
//! Fine-tuning of state-space models.
//!
//! [`SdtMethod`]: sparse dimension tuning ([2410.09016](https://arxiv.org/abs/2410.09016)): of `A_log`, the
//! logarithm of a state-space model's decay rates, a few states of a few channels are trained. Low-rank
//! updates of the projections are another crate's; both are attached to one model, one after the other.

mod sdt;

pub use sdt::{SdtConfig, SdtMethod, SparseOffset};
