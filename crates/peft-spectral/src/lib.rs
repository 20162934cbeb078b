//! Weight updates with few coefficients in a fixed transform, never formed in training.
//!
//! All methods of the family are one sandwich over a weight of `M` outputs and `N` inputs,
//!
//! ```text
//! ΔW = γ · B_outᵀ S B_in        y += γ · ((x B_inᵀ) Sᵀ) B_out
//! ```
//!
//! with bases `B` that are fixed and a sparse `S` of `n` trained coefficients; they differ in the
//! basis, the places of the coefficients, and the scale:
//!
//! | method | basis | places |
//! |---|---|---|
//! | sDCTFT / MaCP (arXiv 2410.09103) | [`Basis::Dct`] | [`support::hierarchical`] |
//! | LoCA (2502.06820) | [`Basis::Dct`] | [`support::random`], then trained |
//! | SSH (2502.05539) | [`Basis::Hartley`] | [`support::hierarchical`] with one band |
//! | FourierFT (2405.03003) | [`Basis::Fourier`] | [`support::fourierft_support`] |
//! | WaveFT (2505.12532) | [`Basis::Wavelet`] | [`support::waveft_support`] |
//! | C3A (2407.19342) | [`circulant`] blocks, no support | |
//!
//! As adapters they are [`Spectral`], [`Loca`] and [`Circulant`], made by the methods [`SelectedMethod`]
//! (sDCTFT, SSH), [`FourierFtMethod`], [`WaveFtMethod`], [`LocaMethod`] and [`C3aMethod`];
//! `peft_core::attach` puts them on any Burn module.
//!
//! Below them is the numerical core, on slices of `f32` and `f64`. Weights are in PyTorch's layout
//! `[out, in]`; for `[in, out]` exchange the two widths and take [`Support::transposed`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`transform`] | the bases, as explicit rows and as fast transforms of any length |
//! | [`support`] | which coefficients are trained |
//! | [`sandwich`] | the product of the update with activations, and its gradients, two ways |
//! | [`plan`] | which way is cheapest |
//! | [`merge`] | the update itself |
//! | [`circulant`] | C3A's block-circulant product |
//! | [`gain`] | other implementations' scales, in ours |

mod adapter;
pub mod circulant;
mod error;
pub mod gain;
pub mod merge;
mod method;
pub mod plan;
mod real;
mod reduce;
pub mod sandwich;
pub mod support;
pub mod transform;

pub use adapter::{Circulant, Loca, Route, Spectral, SpectralParts};
pub use error::SpectralError;
pub use method::{
    C3aConfig, C3aInit, C3aMethod, CoefficientInit, Distance, DrawnMethod, Farthest,
    FourierFtConfig, FourierFtMethod, LocaConfig, LocaMethod, SelectedConfig, SelectedKind,
    SelectedMethod, Selection, WaveFtConfig, WaveFtMethod,
};
pub use real::Real;
pub use sandwich::Sandwich;
pub use support::Support;
pub use transform::Basis;
