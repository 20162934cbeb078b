//! Weight updates with few trained entries, never formed in training.
//!
//! | method | what is trained |
//! |---|---|
//! | SHiRA (arXiv 2406.13175) | entries of the weight, chosen at random, by size, gradient or both |
//! | SparseGrad (2410.07383) | entries of the weight in a basis of its gradients |
//!
//! As adapters they are [`SparseDelta`] and [`GradientCore`], made by the methods [`ShiraMethod`] and
//! [`SparseGradMethod`]; `peft_core::attach` puts them on any Burn module. Below them:
//!
//! | module | what it holds |
//! |---|---|
//! | [`support`] | which entries are trained: single ones, blocks, windows; their compact code |
//! | [`basis`] | eigenvectors of the gradients' second moments |
//! | [`adam`] | Adam for entries that are not trained in every step |

pub mod adam;
mod adapter;
pub mod basis;
mod error;
mod method;
pub mod support;

pub use adapter::{CoreParts, GradientCore, SparseDelta};
pub use error::SparseError;
pub use method::{
    ShiraConfig, ShiraMask, ShiraMethod, SparseGradConfig, SparseGradMask, SparseGradMethod,
};
pub use support::Support;
