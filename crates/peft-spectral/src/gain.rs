//! Other implementations' scales, in this crate's.
//!
//! Published methods differ in how their transforms are normalised; their `scaling` or `alpha` and
//! their learning rates differ by orders of magnitude for that reason alone. Here every basis is
//! orthonormal (or a tight frame) and one factor `γ` is explicit.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Outputs and coefficients of the weights that [`rate_scale`] leaves alone: those of the committed
/// studies on MiniLM.
const REFERENCE: [usize; 2] = [384, 1200];

/// What a learning rate that suits 1,200 coefficients on 384 outputs is multiplied by for `n`
/// coefficients on `M` outputs: `ρ₀/ρ` with `ρ = n/M`, and `√ρ` in place of `ρ` below 1.
///
/// A step of Adam moves every orthonormal coefficient by the learning rate `η`. On an input of unit
/// mean square an output frequency with `ρ ≥ 1` coefficients then moves by up to `η ρ`, for steps follow
/// the signs of the gradient; with `ρ < 1` only that share of the output's frequencies moves, each by `η`.
/// Either way the outputs move by as much as in the reference.
#[must_use]
pub fn rate_scale(out_features: usize, coefficients: usize) -> f64 {
    let movement = |[outputs, count]: [usize; 2]| {
        let density = count as f64 / outputs as f64;
        if density < 1.0 {
            density.sqrt()
        } else {
            density
        }
    };
    movement(REFERENCE) / movement([out_features, coefficients])
}

/// How an implementation normalises its transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// Orthonormal: LoCA, WaveFT, and this crate.
    Orthonormal,
    /// `ifft2` divided by `MN`, real part, times `scaling`: FourierFT, in Hugging Face PEFT and in the
    /// authors' code.
    FourierFt,
    /// `torch_dct.idct_2d(norm=None)` times `scale`: MaCP's released cosine files.
    TorchDct,
    /// Separable Hartley passes, each divided by its length, times `alpha`: SSH and MaCP's
    /// released `layer.py`.
    HartleyOverLength,
}

impl Convention {
    /// The `γ` that makes our update theirs for their `scale`, in a weight of `M` outputs and `N`
    /// inputs: `s`, `s/√(MN)`, `s/(2√(MN))` and `s/√(MN)`.
    ///
    /// With [`TorchDct`](Self::TorchDct), coefficients must be multiplied by
    /// [`coefficient_factor`](Self::coefficient_factor) as well.
    #[must_use]
    pub fn gamma(self, scale: f64, out_features: usize, in_features: usize) -> f64 {
        let side = (out_features as f64).sqrt() * (in_features as f64).sqrt();
        match self {
            Self::Orthonormal => scale,
            Self::FourierFt | Self::HartleyOverLength => scale / side,
            Self::TorchDct => scale / (2.0 * side),
        }
    }

    /// What their coefficient at `[u, v]` is multiplied by to become ours: `1/√2` per axis at
    /// frequency 0 for [`TorchDct`](Self::TorchDct), else 1.
    #[must_use]
    pub fn coefficient_factor(self, [u, v]: [u32; 2]) -> f64 {
        if self != Self::TorchDct {
            return 1.0;
        }
        let axis = |k| if k == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        axis(u) * axis(v)
    }

    /// The gain: `‖ΔW‖_F` per unit of their coefficient at `[u, v]`.
    ///
    /// An Adam step of rate `lr` on their coefficients moves the weight as one of rate
    /// `lr · gain` on orthonormal ones does.
    #[must_use]
    pub fn gain(self, scale: f64, out_features: usize, in_features: usize, place: [u32; 2]) -> f64 {
        let gamma = self.gamma(scale, out_features, in_features);
        match self {
            Self::Orthonormal | Self::HartleyOverLength => gamma,
            Self::TorchDct => gamma * self.coefficient_factor(place),
            Self::FourierFt => {
                // A cosine plane has half the energy of its amplitude, except where it is ±1.
                let own = |k: u32, n: usize| k == 0 || 2 * k as usize == n;
                if own(place[0], out_features) && own(place[1], in_features) {
                    gamma
                } else {
                    gamma / SQRT_2
                }
            }
        }
    }
}
