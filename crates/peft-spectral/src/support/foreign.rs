use peft_core::randperm::randperm_prefix;

use super::{Support, list::check_count};
use crate::{
    SpectralError,
    transform::{Basis, Wavelet},
};

/// The entries of a Hugging Face FourierFT checkpoint, which stores only their seed.
///
/// `torch.randperm(out · in)` of a generator seeded with `random_loc_seed`; its first
/// `n_frequency` places, row by row, in the order of `fourierft_spectrum`. Every layer of one shape
/// has the same entries.
///
/// # Errors
/// If `n_frequency` is 0 or more than `out · in`.
pub fn fourierft_support(
    out_features: usize,
    in_features: usize,
    n_frequency: usize,
    random_loc_seed: u64,
) -> Result<Support, SpectralError> {
    check_count(out_features, in_features, n_frequency)?;
    let total = out_features as u64 * in_features as u64;
    Support::from_flat(
        out_features,
        in_features,
        randperm_prefix(total, n_frequency, random_loc_seed),
    )
}

/// The entries of a Hugging Face WaveFT checkpoint, on the grid of [`Basis::Wavelet`] (or of
/// [`Basis::Identity`] without `wavelet`, for `use_idwt = false`).
///
/// The first `n_frequency` of `torch.randperm(out · in)`, seeded with `random_loc_seed`, are flat places of
/// the weight, as for FourierFT; with a wavelet, places move by half the grid's
/// excess over the weight, and the two mixed quadrants change places: what PEFT's
/// layer stores to the top right (low row, high column) its `waverec2d` multiplies with the
/// detail filter along *rows* and the smooth one along columns.
///
/// # Errors
/// If `n_frequency` is 0 or more than `out · in`.
pub fn waveft_support(
    out_features: usize,
    in_features: usize,
    n_frequency: usize,
    random_loc_seed: u64,
    wavelet: Option<Wavelet>,
) -> Result<Support, SpectralError> {
    let drawn = fourierft_support(out_features, in_features, n_frequency, random_loc_seed)?;
    let Some(wavelet) = wavelet else {
        return Ok(drawn);
    };
    let basis = Basis::Wavelet(wavelet);
    let (rows, cols) = (
        basis.frequencies(out_features),
        basis.frequencies(in_features),
    );
    let place = |at: u32, features: usize, frequencies: usize| {
        let shifted = at as usize + (frequencies - features) / 2;
        let half = frequencies / 2;
        (shifted >= half, shifted % half)
    };
    let entries = drawn.entries().iter().map(|&[u, v]| {
        let (row_high, row) = place(u, out_features, rows);
        let (col_high, col) = place(v, in_features, cols);
        let detail =
            |high: bool, at: usize, side: usize| (at + usize::from(high) * side / 2) as u32;
        [detail(col_high, row, rows), detail(row_high, col, cols)]
    });
    Support::new(rows, cols, entries.collect())
}
