//! Weight updates with few trained entries, never formed in training.
//!
//! | method | what is trained |
//! |---|---|
//! | SHiRA (arXiv 2406.13175) | entries of the weight, chosen at random, by size, gradient or both |
//! | SIFT (2312.11875) | entries of the weight, chosen by the first batch's gradient |
//! | SpIEL (2401.16405) | entries of the weight that come and go |
//! | SMT (2405.15525) | blocks of the weights, chosen over the whole model by gradients |
//! | SparseGrad (2410.07383) | entries of the weight in a basis of its gradients |
//! | GMT (2406.15330), `topk_grad` | all entries, with all but the largest gradients masked |
//! | meProp (1706.06197) | all entries, with all but the largest gradients of the outputs cut |
//!
//! As adapters they are [`SparseDelta`], [`GradientCore`], [`DenseDelta`] and [`MeProp`], made by the
//! methods [`ShiraMethod`], [`SiftMethod`], [`SpielMethod`], [`SmtMethod`], [`SparseGradMethod`], [`MaskedMethod`] and
//! [`MePropMethod`]; `peft_core::attach` puts them on any Burn module. Below them:
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

pub use adapter::{CoreParts, DenseDelta, GradientCore, MeProp, SparseDelta};
pub use error::SparseError;
pub use method::{
    MaskedConfig, MaskedKind, MaskedMethod, MePropConfig, MePropMethod, ShiraConfig, ShiraMask,
    ShiraMethod, SiftConfig, SiftMethod, SmtConfig, SmtMethod, SmtPools, SmtScore, SmtShape,
    SparseGradConfig, SparseGradMask, SparseGradMethod, SpielConfig, SpielGrowth, SpielMethod,
};
pub use support::Support;
