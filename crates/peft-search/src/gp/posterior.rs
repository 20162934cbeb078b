//! Predictions of a fitted Gaussian process.

use faer::Mat;

use super::factor::Factor;
use super::kernel::{Kernel, Rows};
use super::target::{Target, Theta};

/// A Gaussian process conditioned on observations.
#[derive(Debug, Clone)]
pub struct Gp {
    rows: Rows,
    kernel: Kernel,
    noise: f64,
    mean: f64,
    factor: Factor,
    alpha: Mat<f64>,
    theta: Theta,
}

/// Marginal predictions of the function, without noise, at rows of inputs.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// `μ(x) = c + kᵀ α`.
    pub mean: Vec<f64>,
    /// `v(x) = s² − ‖L⁻¹ k‖²`, at least 10⁻¹² s².
    pub variance: Vec<f64>,
    /// `L⁻¹ k`, a column a row of inputs: what joint covariances need.
    pub half: Mat<f64>,
}

impl Gp {
    /// The process with these hyper-parameters; none where its covariance has no Cholesky factor.
    pub fn new(target: &Target<'_>, theta: Theta) -> Option<Self> {
        let (kernel, noise) = target.kernel(&theta);
        let rows = target.rows().clone();
        let mut covariance = kernel.between(&rows, &rows);
        (0..rows.len()).for_each(|i| covariance[(i, i)] += noise);
        let factor = Factor::new(&covariance)?;
        let mean = theta.values[0];
        let residual = Mat::from_fn(rows.len(), 1, |i, _| target.outputs()[i] - mean);
        let alpha = factor.solve(&residual);
        Some(Self {
            rows,
            kernel,
            noise,
            mean,
            factor,
            alpha,
            theta,
        })
    }

    /// The observed rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The noise variance, floor included.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// The hyper-parameters as fitted.
    pub fn theta(&self) -> &Theta {
        &self.theta
    }

    /// Length scale `ℓ = 1/√ρ` of each group of columns.
    pub fn length_scales(&self) -> Vec<f64> {
        self.theta.values[3..]
            .iter()
            .map(|ln| (-0.5 * ln).exp())
            .collect()
    }

    /// Predictions at rows of inputs.
    pub fn predict(&self, rows: &Rows) -> Posterior {
        let cross = self.kernel.between(&self.rows, rows);
        let dot = |column: usize| -> f64 {
            (0..self.rows.len())
                .map(|i| cross[(i, column)] * self.alpha[(i, 0)])
                .sum()
        };
        let mean = (0..rows.len())
            .map(|column| self.mean + dot(column))
            .collect();
        let half = self.factor.half_solve(cross);
        let signal = self.kernel.variance;
        let variance = (0..rows.len())
            .map(|column| {
                let known: f64 = half.col(column).iter().map(|v| v * v).sum();
                (signal - known).max(1e-12 * signal)
            })
            .collect();
        Posterior {
            mean,
            variance,
            half,
        }
    }

    /// Posterior covariance of the function between rows `a` and `b`, whose predictions are given:
    /// `k(a, b) − (L⁻¹k_a)ᵀ (L⁻¹k_b)`.
    pub fn covariance(&self, a: &Rows, half_a: &Mat<f64>, b: &Rows, half_b: &Mat<f64>) -> Mat<f64> {
        self.kernel.between(a, b) - half_a.transpose() * half_b
    }
}
