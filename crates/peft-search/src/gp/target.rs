//! The log-posterior of the hyper-parameters and its gradient.

use faer::Mat;

use super::factor::Factor;
use super::kernel::{Kernel, Rows};
use super::prior::Prior;
use crate::normal::HALF_LN_TWO_PI;

/// Hyper-parameters of a Gaussian process, in the variables in which they are fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Theta {
    /// `c`, `ln s²`, `ln σ²`, then `ln ρ` of each length scale.
    pub values: Vec<f64>,
}

/// What every fit maximises: `ln p(y | X, θ) + ln p(θ)` for one set of observations.
///
/// `ln p(y | X, θ) = −½ (y−c)ᵀ α − Σ ln L_ii − (n/2) ln 2π` with `K = s² K₀ + (σ² + floor) I = L Lᵀ` and
/// `α = K⁻¹(y − c)`. With `W = α αᵀ − K⁻¹` its gradient is `½ tr(W ∂K)`:
/// `∂K/∂ln s² = s² K₀`, `∂K/∂ln σ² = σ² I`, `∂/∂c = Σ α`, and
/// `∂k/∂ρ = −(5/6) s² (1 + √5 r) exp(−√5 r) (x − x')²`.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    rows: &'a Rows,
    outputs: &'a [f64],
    groups: &'a [usize],
    scales: usize,
    prior: Prior,
    floor: f64,
    /// Squared distances of every pair `i < j` in each group of columns, pairs one after the other.
    squares: Vec<f64>,
}

impl<'a> Target<'a> {
    /// The target of observed rows. `groups[column]` is the length scale of a column, 0 and up without gaps; `floor`
    /// is added to the noise variance.
    ///
    /// # Panics
    ///
    /// Where rows, outputs and groups differ in length.
    pub fn new(
        rows: &'a Rows,
        outputs: &'a [f64],
        groups: &'a [usize],
        prior: Prior,
        floor: f64,
    ) -> Self {
        assert_eq!(rows.len(), outputs.len(), "rows and outputs differ");
        assert_eq!(rows.width(), groups.len(), "columns and groups differ");
        let scales = groups.iter().max().map_or(0, |last| last + 1);
        let count = rows.len();
        let mut squares = vec![0.0; count * count.saturating_sub(1) / 2 * scales];
        let mut at = 0;
        for i in 0..count {
            for j in i + 1..count {
                let pair = &mut squares[at..at + scales];
                for ((a, b), &group) in rows.row(i).iter().zip(rows.row(j)).zip(groups) {
                    pair[group] += (a - b) * (a - b);
                }
                at += scales;
            }
        }
        Self {
            rows,
            outputs,
            groups,
            scales,
            prior,
            floor,
            squares,
        }
    }

    /// How many length scales there are.
    pub fn scales(&self) -> usize {
        self.scales
    }

    pub(super) fn prior(&self) -> Prior {
        self.prior
    }

    pub(super) fn rows(&self) -> &Rows {
        self.rows
    }

    pub(super) fn outputs(&self) -> &[f64] {
        self.outputs
    }

    /// The kernel and the noise variance, floor included, of hyper-parameters.
    pub fn kernel(&self, theta: &Theta) -> (Kernel, f64) {
        let precision = |&group: &usize| theta.values[3 + group].exp();
        let precisions = self.groups.iter().map(precision).collect();
        let kernel = Kernel {
            variance: theta.values[1].exp(),
            precisions,
        };
        (kernel, theta.values[2].exp() + self.floor)
    }

    /// The log-posterior up to a constant, and its gradient by `theta`'s values; none where the covariance has no
    /// Cholesky factor.
    pub fn evaluate(&self, theta: &Theta, gradient: &mut [f64]) -> Option<f64> {
        let fit = self.ln_likelihood(&theta.values, gradient)?;
        let total = fit + self.prior.ln_density(&theta.values, gradient);
        total.is_finite().then_some(total)
    }

    /// `ln p(y | X, θ)` and its gradient; none where the covariance has no Cholesky factor.
    pub(super) fn ln_likelihood(&self, values: &[f64], gradient: &mut [f64]) -> Option<f64> {
        let count = self.rows.len();
        let (signal, noise) = (values[1].exp(), values[2].exp());
        let precisions: Vec<f64> = values[3..].iter().map(|value| value.exp()).collect();
        let mut covariance = Mat::<f64>::zeros(count, count);
        let mut distances = Vec::with_capacity(count * count.saturating_sub(1) / 2);
        let mut pairs = self.squares.chunks_exact(self.scales);
        for i in 0..count {
            covariance[(i, i)] = signal + noise + self.floor;
            for (j, pair) in (i + 1..count).zip(&mut pairs) {
                let square: f64 = pair.iter().zip(&precisions).map(|(d, p)| d * p).sum();
                distances.push(square);
                let value = signal * Kernel::correlation(square);
                covariance[(i, j)] = value;
                covariance[(j, i)] = value;
            }
        }
        let factor = Factor::new(&covariance)?;
        let residual = Mat::from_fn(count, 1, |i, _| self.outputs[i] - values[0]);
        let alpha = factor.solve(&residual);
        let inverse = factor.inverse();
        let quadratic: f64 = (0..count).map(|i| residual[(i, 0)] * alpha[(i, 0)]).sum();
        let fit = -0.5 * quadratic - factor.half_ln_determinant() - count as f64 * HALF_LN_TWO_PI;

        gradient.fill(0.0);
        let mut pairs = self.squares.chunks_exact(self.scales).zip(&distances);
        for i in 0..count {
            let own = alpha[(i, 0)] * alpha[(i, 0)] - inverse[(i, i)];
            gradient[0] += alpha[(i, 0)];
            gradient[1] += 0.5 * own * signal;
            gradient[2] += 0.5 * own * noise;
            for (j, (pair, &square)) in (i + 1..count).zip(&mut pairs) {
                let weight = alpha[(i, 0)] * alpha[(j, 0)] - inverse[(j, i)];
                gradient[1] += weight * covariance[(j, i)];
                let slope = weight * signal * Kernel::slope(square);
                for ((slot, d), p) in gradient[3..].iter_mut().zip(pair).zip(&precisions) {
                    *slot -= slope * d * p;
                }
            }
        }
        Some(fit)
    }
}
