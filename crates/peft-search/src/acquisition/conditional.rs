//! A Gaussian process given draws of the true values at some of its rows.

use faer::Mat;

use super::Evidence;
use crate::SearchError;
use crate::gp::{Factor, Gp, Rows};

/// Draws of true values at all rows of the evidence, a column a draw.
pub(super) struct Truths {
    pub values: Mat<f64>,
    mean: Vec<f64>,
    half: Mat<f64>,
    covariance: Mat<f64>,
}

fn refuse(rows: usize) -> SearchError {
    let reason = "its posterior covariance has no Cholesky factor".to_owned();
    SearchError::Fit { rows, reason }
}

/// Draws `F = m + L z` of one objective; without noise the observed scores, and the means of pending rows.
pub(super) fn truths(
    evidence: &Evidence<'_>,
    gp: &Gp,
    objective: usize,
    normals: &Mat<f64>,
) -> Result<Truths, SearchError> {
    let rows = evidence.rows;
    let posterior = gp.predict(rows);
    let covariance = gp.covariance(rows, &posterior.half, rows, &posterior.half);
    let values = if evidence.noisy {
        let factor = Factor::new(&covariance).ok_or_else(|| refuse(rows.len()))?;
        let spread = factor.lower() * normals;
        Mat::from_fn(rows.len(), normals.ncols(), |i, s| {
            posterior.mean[i] + spread[(i, s)]
        })
    } else {
        Mat::from_fn(rows.len(), normals.ncols(), |i, _| {
            match i < evidence.observed {
                true => evidence.scores[i][objective],
                false => posterior.mean[i],
            }
        })
    };
    Ok(Truths {
        values,
        mean: posterior.mean,
        half: posterior.half,
        covariance,
    })
}

/// `f | data, f(B) = F_B`: with `c = cov(x, B)` and `Σ_B = L_B L_Bᵀ` the mean of draw `s` is
/// `μ(x) + cᵀ Σ_B⁻¹ (F_B,s − m_B)` and the variance of all of them `v(x) − ‖L_B⁻¹ c‖²`.
#[derive(Debug)]
pub(super) struct Conditional {
    gp: Gp,
    rows: Rows,
    half: Mat<f64>,
    factor: Option<Factor>,
    weights: Mat<f64>,
}

/// Predictions at some rows.
pub(super) struct Predicted {
    /// A row a row of inputs, a column a draw.
    pub mean: Mat<f64>,
    pub deviation: Vec<f64>,
}

impl Conditional {
    pub fn new(gp: Gp, all: &Rows, kept: &[usize], truths: Truths) -> Result<Self, SearchError> {
        let rows = all.select(kept);
        let draws = truths.values.ncols();
        let half = Mat::from_fn(truths.half.nrows(), kept.len(), |i, j| {
            truths.half[(i, kept[j])]
        });
        if kept.is_empty() {
            let weights = Mat::zeros(0, draws);
            return Ok(Self {
                gp,
                rows,
                half,
                factor: None,
                weights,
            });
        }
        let covariance = Mat::from_fn(kept.len(), kept.len(), |i, j| {
            truths.covariance[(kept[i], kept[j])]
        });
        let factor = Factor::new(&covariance).ok_or_else(|| refuse(all.len()))?;
        let away = Mat::from_fn(kept.len(), draws, |i, s| {
            truths.values[(kept[i], s)] - truths.mean[kept[i]]
        });
        let weights = factor.solve(&away);
        Ok(Self {
            gp,
            rows,
            half,
            factor: Some(factor),
            weights,
        })
    }

    pub fn predict(&self, rows: &Rows) -> Predicted {
        let posterior = self.gp.predict(rows);
        let mut mean = Mat::from_fn(rows.len(), self.weights.ncols(), |i, _| posterior.mean[i]);
        let mut variance = posterior.variance;
        if let Some(factor) = &self.factor {
            let cross = self
                .gp
                .covariance(&self.rows, &self.half, rows, &posterior.half);
            mean += cross.transpose() * &self.weights;
            let half = factor.half_solve(cross);
            for (row, variance) in variance.iter_mut().enumerate() {
                *variance -= half.col(row).iter().map(|v| v * v).sum::<f64>();
            }
        }
        let least = 1e-12 * self.gp.kernel().variance;
        Predicted {
            mean,
            deviation: variance.iter().map(|v| v.max(least).sqrt()).collect(),
        }
    }
}
