//! Cholesky factors of covariance matrices.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::prelude::Solve;
use faer::{Mat, MatRef, Par, Side};

/// The lower Cholesky factor of a covariance matrix, `L Lᵀ = K + jitter·I`.
#[derive(Debug, Clone)]
pub struct Factor {
    llt: faer::linalg::solvers::Llt<f64>,
}

impl Factor {
    /// Factors a symmetric matrix, adding the smallest jitter of 0, 10⁻⁸, 10⁻⁷ … 10⁻⁴ times the mean of its diagonal
    /// with which it is positive definite; none where there is no such jitter, or an element is not finite.
    pub fn new(matrix: &Mat<f64>) -> Option<Self> {
        let size = matrix.nrows();
        let scale = (0..size).map(|i| matrix[(i, i)]).sum::<f64>() / size.max(1) as f64;
        let ladder = [0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4];
        ladder.into_iter().find_map(|jitter| {
            let mut shifted = matrix.clone();
            (0..size).for_each(|i| shifted[(i, i)] += jitter * scale.abs());
            let llt = shifted.llt(Side::Lower).ok()?;
            let whole = (0..size).all(|i| llt.L()[(i, i)].is_finite());
            whole.then_some(Self { llt })
        })
    }

    /// `L`.
    pub fn lower(&self) -> MatRef<'_, f64> {
        self.llt.L()
    }

    /// `K⁻¹ b`.
    pub fn solve(&self, right: &Mat<f64>) -> Mat<f64> {
        self.llt.solve(right)
    }

    /// `L⁻¹ b`.
    pub fn half_solve(&self, mut right: Mat<f64>) -> Mat<f64> {
        solve_lower_triangular_in_place(self.lower(), right.as_mut(), Par::Seq);
        right
    }

    /// `K⁻¹`.
    pub fn inverse(&self) -> Mat<f64> {
        use faer::linalg::solvers::DenseSolveCore;
        self.llt.inverse()
    }

    /// `½ ln det K = Σ ln L_ii`.
    pub fn half_ln_determinant(&self) -> f64 {
        (0..self.lower().nrows())
            .map(|i| self.lower()[(i, i)].ln())
            .sum()
    }
}
