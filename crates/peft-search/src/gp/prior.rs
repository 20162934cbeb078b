//! Priors of the hyper-parameters, as densities of the parameters themselves.
//!
//! Maximum a posteriori depends on the variable in which a density is written. These are densities in ℓ, s², σ², τ
//! and λ and not in their logarithms: with the logarithm's Jacobian the half-Cauchy's mode would move from 0 to its
//! scale, and nothing would be shrunk.

use serde::{Deserialize, Serialize};

/// The prior of a Gaussian process for outputs of mean 0 and variance 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Prior {
    /// `ln ℓ_i ~ N(√2 + ½ ln d, 3)`, `ln σ² ~ N(−4, 1)`, `s² = 1` (Hvarfner, Hellsten and Nardi, "Vanilla Bayesian
    /// optimization performs great in high dimensions", arXiv 2402.02229; BoTorch's default).
    DimensionScaled,
    /// Sparse axis-aligned subspaces (Eriksson and Jankowiak, arXiv 2103.00229) at one value of the global
    /// shrinkage: `ρ_i = τ λ_i`, `λ_i ~ HC(1)`, `s² ~ Gamma(2, 0.15)`, `σ² ~ Gamma(0.9, 10)`, `c ~ N(0, 1)`.
    ///
    /// The smaller τ, the longer the length scales: the model's direction, not that of BoTorch's MAP variant, where
    /// `τ/ℓ² ~ HC(1)` turns it round.
    Saas {
        /// τ.
        shrinkage: f64,
    },
}

/// Four quantiles of `τ ~ HC(0.1)`, about 10, 30, 63 and 90 %: the members of the SAAS ensemble.
pub const SAAS_SHRINKAGES: [f64; 4] = [0.015, 0.05, 0.15, 0.6];

/// A box for one hyper-parameter and where its fits start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
    pub start: f64,
}

impl Prior {
    /// Ranges of `c`, `ln s²`, `ln σ²` and of all `ln ρ`, for `scales` length scales.
    pub(super) fn ranges(&self, scales: usize) -> [Range; 4] {
        let range = |low: f64, high: f64, start: f64| Range { low, high, start };
        let mean = range(-10.0, 10.0, 0.0);
        match self {
            Self::DimensionScaled => [
                mean,
                range(0.0, 0.0, 0.0),
                range(1e-6f64.ln(), 10f64.ln(), -4.0),
                // ℓ from 0.025 to 10⁴.
                range(
                    -2.0 * 1e4f64.ln(),
                    -2.0 * 0.025f64.ln(),
                    -(scales as f64).ln().max(0.0),
                ),
            ],
            Self::Saas { .. } => [
                mean,
                range(1e-2f64.ln(), 1e4f64.ln(), 0.0),
                range(1e-6f64.ln(), 1f64.ln(), 1e-2f64.ln()),
                range(-2.0 * 1e4f64.ln(), -2.0 * 1e-2f64.ln(), 0.0),
            ],
        }
    }

    /// Log-density at `theta = (c, ln s², ln σ², ln ρ …)` up to a constant; adds its gradient.
    pub(super) fn ln_density(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        let (head, precisions) = theta.split_at(3);
        let mut sum = 0.0;
        match *self {
            Self::DimensionScaled => {
                let center = 2f64.sqrt() + 0.5 * (precisions.len() as f64).ln();
                for (ln_precision, slope) in precisions.iter().zip(&mut gradient[3..]) {
                    let ln_scale = -0.5 * ln_precision;
                    let away = ln_scale - center;
                    sum -= away * away / 6.0 + ln_scale;
                    *slope += 0.5 * (away / 3.0 + 1.0);
                }
                let away = head[2] + 4.0;
                sum -= 0.5 * away * away + head[2];
                gradient[2] -= away + 1.0;
            }
            Self::Saas { shrinkage } => {
                for (ln_precision, slope) in precisions.iter().zip(&mut gradient[3..]) {
                    let square = (2.0 * (ln_precision - shrinkage.ln())).exp();
                    sum -= square.ln_1p();
                    *slope -= 2.0 * square / (1.0 + square);
                }
                let (mean, signal, noise) = (head[0], head[1].exp(), head[2].exp());
                sum += -0.5 * mean * mean + head[1] - 0.15 * signal - 0.1 * head[2] - 10.0 * noise;
                gradient[0] -= mean;
                gradient[1] += 1.0 - 0.15 * signal;
                gradient[2] -= 0.1 + 10.0 * noise;
            }
        }
        sum
    }
}
