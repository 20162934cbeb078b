//! The fixed bases, as explicit rows and as fast transforms.
//!
//! A basis of an axis of `n` features is a matrix `B` of `width` rows and `n` columns. *Analysis*
//! is `x ↦ x Bᵀ` (`n` values to `width`), *synthesis* its transpose `z ↦ z B` (`width` to `n`).
//! Every basis here satisfies `Bᵀ B = I` (synthesis undoes analysis), so coefficients of all
//! methods live on one scale and learning rates carry over between them.

mod angle;
mod basis;
mod fft;
mod filter;
mod lanes;
mod lines;
mod planar;
mod rows;
mod wavelet;
mod wavelet_tables;

pub use basis::Basis;
pub use lines::Transform;
pub use planar::spectrum;
pub use rows::{BasisRows, basis_row};
pub use wavelet::Wavelet;

pub(crate) use angle::cos_sin;
pub(crate) use lanes::LaneScratch;
pub(crate) use lines::Scratch;
