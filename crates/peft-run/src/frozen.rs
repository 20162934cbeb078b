//! What the frozen model knows already: classes by its features and a logistic regression.

use burn::tensor::Device;
use peft_core::AdapterContext;
use peft_data::{BatchPlan, Dataset, Labels};
use peft_linalg::{Dense, Threads, product};
use peft_models::{Model, Network};

use crate::{RunError, batch::pack};

/// Weights of the penalty that are tried, on features of variance 1.
const PENALTIES: [f64; 6] = [1.0, 10.0, 30.0, 100.0, 300.0, 1000.0];
/// One row of so many chooses among them.
const HELD: usize = 10;
/// Steps of the regression, at most.
const STEPS: usize = 200;
/// Change of a weight below which it has converged.
const CONVERGED: f64 = 1e-4;

/// The classes that a frozen encoder tells apart by itself: a logistic regression on the means of its hidden states
/// over each row's tokens, fitted to the rows of `fit`, and its prediction for every row of `rows`. None for other
/// models, and without classes.
///
/// Features are brought to mean 0 and variance 1 over the rows to fit; the L2 penalty is chosen on a tenth of
/// them. It is what an adapter has to be better than to be worth anything.
///
/// # Errors
/// If a row does not fit the model.
pub fn frozen_classes(
    model: &Model,
    fit: &Dataset,
    rows: &Dataset,
    batch_size: usize,
    device: &Device,
) -> Result<Option<Vec<u32>>, RunError> {
    let (Model::Encoder(_), Labels::Classes(labels)) = (model, fit.labels()) else {
        return Ok(None);
    };
    if labels.is_empty() {
        return Ok(None);
    }
    let [mut known, mut asked] = [
        means(model, fit, batch_size, device)?,
        means(model, rows, batch_size, device)?,
    ];
    let scale = Scale::of(&known);
    scale.apply(&mut known);
    scale.apply(&mut asked);
    let held = |row: &usize| row.is_multiple_of(HELD);
    let all: Vec<usize> = (0..labels.len()).collect();
    let (choosing, fitting): (Vec<usize>, Vec<usize>) = all.iter().copied().partition(held);
    let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
    let of = |chosen: &[usize]| Regression::new(&known, &labels, chosen, classes);
    let right = |penalty: f64, regression: &Regression| {
        let weights = regression.fitted(penalty);
        let rows = choosing.iter();
        rows.filter(|row| likeliest(&weights, known.row(**row)) == labels[**row])
            .count()
    };
    let regression = of(&fitting);
    // Of equal ones the stronger penalty.
    let penalty = PENALTIES
        .iter()
        .copied()
        .max_by_key(|penalty| (right(*penalty, &regression), *penalty as u64));
    let weights = of(&all).fitted(penalty.unwrap_or(PENALTIES[0]));
    let told = (0..asked.rows()).map(|row| likeliest(&weights, asked.row(row)));
    Ok(Some(told.collect()))
}

/// The mean hidden state of every row, and a 1 for the bias: `[rows, hidden + 1]`.
fn means(
    model: &Model,
    data: &Dataset,
    batch_size: usize,
    device: &Device,
) -> Result<Dense, RunError> {
    let Model::Encoder(encoder) = model else {
        return Ok(Dense::zeros(0, 0));
    };
    let width = encoder.config().hidden_size;
    let mut all = Dense::zeros(data.len(), width + 1);
    for rows in BatchPlan::sequential(&data.lengths(), batch_size)?.iter_from(0) {
        let batch = data.batch(rows)?;
        let packed = pack(model, &batch, device)?;
        let context = AdapterContext::inference();
        let hidden = encoder.encoder.forward(&packed, &context);
        let values: Vec<f32> = hidden.into_data().iter::<f32>().collect();
        for (row, bounds) in batch.indices.iter().zip(batch.row_starts.windows(2)) {
            let mean = &mut all.values_mut()[row * (width + 1)..][..width + 1];
            for token in bounds[0]..bounds[1] {
                let states = &values[token * width..][..width];
                for (sum, state) in mean.iter_mut().zip(states) {
                    *sum += f64::from(*state);
                }
            }
            let count = (bounds[1] - bounds[0]).max(1) as f64;
            mean.iter_mut().for_each(|sum| *sum /= count);
            mean[width] = 1.0;
        }
        if let Some(at) = batch.indices.iter().find(|row| {
            let mean = all.row(**row);
            !mean.iter().all(|value| value.is_finite())
        }) {
            return Err(RunError::NotFinite {
                row: at + 1,
                module: model.first_not_finite(&packed, &context),
            });
        }
    }
    Ok(all)
}

/// Means and deviations of columns; the last one, which is 1 everywhere, stays.
struct Scale {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Scale {
    fn of(features: &Dense) -> Self {
        let count = features.rows().max(1) as f64;
        let columns = features.columns().saturating_sub(1);
        let column = |at: usize| (0..features.rows()).map(move |row| features.row(row)[at]);
        let means: Vec<f64> = (0..columns)
            .map(|at| column(at).sum::<f64>() / count)
            .collect();
        let deviation = |at: usize| {
            let squares: f64 = column(at).map(|value| (value - means[at]).powi(2)).sum();
            // What is the same everywhere tells nothing, and must not come to tell much elsewhere.
            match (squares / count).sqrt() {
                deviation if deviation > 1e-12 => deviation,
                _ => 1.0,
            }
        };
        Self {
            deviations: (0..columns).map(deviation).collect(),
            means,
        }
    }

    fn apply(&self, features: &mut Dense) {
        let columns = features.columns().max(1);
        for row in features.values_mut().chunks_mut(columns) {
            let scale = self.means.iter().zip(&self.deviations);
            for (value, (mean, deviation)) in row.iter_mut().zip(scale) {
                *value = (*value - mean) / deviation;
            }
        }
    }
}

/// Multinomial logistic regression on rows of features.
///
/// With `X` the features, `Y` the classes as rows of 0 and 1 and `P` the probabilities, each step is
///
/// ```text
/// W ← W − (XᵀX / 2 + λ I)⁻¹ (Xᵀ(P − Y) + λ W)
/// ```
///
/// whose matrix bounds the second derivative from above ([Böhning 1992](https://doi.org/10.1007/BF00048682)), so that
/// the loss falls in every step and one decomposition is enough for all of them.
struct Regression {
    features: Dense,
    labels: Vec<u32>,
    classes: usize,
    gram: Dense,
}

impl Regression {
    fn new(features: &Dense, labels: &[u32], rows: &[usize], classes: usize) -> Self {
        let columns = features.columns();
        let values: Vec<f64> = rows
            .iter()
            .flat_map(|row| features.row(*row))
            .copied()
            .collect();
        let features = Dense::new(rows.len(), columns, values);
        Self {
            labels: rows.iter().map(|row| labels[*row]).collect(),
            gram: product(features.t(), features.view(), Threads::All),
            features,
            classes,
        }
    }

    /// The weights, a row for each class.
    fn fitted(&self, penalty: f64) -> Dense {
        let columns = self.features.columns();
        let mut bound = self.gram.clone().scaled(0.5);
        bound.add_scaled(penalty, &Dense::diagonal(columns, 1.0));
        let factor = cholesky(bound);
        let mut weights = Dense::zeros(self.classes, columns);
        for _ in 0..STEPS {
            let mut residuals = product(self.features.view(), weights.t(), Threads::All);
            for (row, label) in (residuals.values_mut().chunks_mut(self.classes)).zip(&self.labels)
            {
                softmax(row);
                row[*label as usize] -= 1.0;
            }
            let mut gradient = product(residuals.t(), self.features.view(), Threads::All);
            gradient.add_scaled(penalty, &weights);
            let mut largest = 0.0f64;
            for (gradient, weights) in (gradient.values_mut().chunks_mut(columns))
                .zip(weights.values_mut().chunks_mut(columns))
            {
                solve(&factor, gradient);
                for (weight, step) in weights.iter_mut().zip(&*gradient) {
                    *weight -= step;
                    largest = largest.max(step.abs());
                }
            }
            if largest < CONVERGED {
                break;
            }
        }
        weights
    }
}

fn softmax(scores: &mut [f64]) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The class of the highest score; of equal ones the first.
fn likeliest(weights: &Dense, features: &[f64]) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for class in 0..weights.rows() {
        let score = peft_linalg::dot(weights.row(class), features);
        if score > best.1 {
            best = (class as u32, score);
        }
    }
    best.0
}

/// `L` of `L Lᵀ`, below the diagonal and on it, of a positive definite matrix.
fn cholesky(mut matrix: Dense) -> Dense {
    let size = matrix.rows();
    for column in 0..size {
        for row in column..size {
            let (above, below) = (matrix.row(column), matrix.row(row));
            let rest = below[column] - peft_linalg::dot(&above[..column], &below[..column]);
            let value = match row == column {
                true => rest.max(f64::MIN_POSITIVE).sqrt(),
                false => rest / above[column],
            };
            matrix.values_mut()[row * size + column] = value;
        }
    }
    matrix
}

/// Put `x` of `L Lᵀ x = b` where `b` is.
fn solve(factor: &Dense, b: &mut [f64]) {
    let size = factor.rows();
    for row in 0..size {
        let line = factor.row(row);
        b[row] = (b[row] - peft_linalg::dot(&line[..row], &b[..row])) / line[row];
    }
    for row in (0..size).rev() {
        let below = b[row + 1..].iter().zip(row + 1..);
        let known: f64 = below.map(|(x, below)| factor.row(below)[row] * x).sum();
        b[row] = (b[row] - known) / factor.row(row)[row];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_by_its_factor() {
        let matrix = Dense::new(3, 3, vec![4.0, 2.0, 0.5, 2.0, 5.0, 1.0, 0.5, 1.0, 3.0]);
        let mut x = vec![5.5, 11.0, 11.5];
        solve(&cholesky(matrix.clone()), &mut x);
        for (row, expected) in [5.5, 11.0, 11.5].into_iter().enumerate() {
            assert!((peft_linalg::dot(matrix.row(row), &x) - expected).abs() < 1e-12);
        }
    }

    /// Where the loss is lowest its gradient is zero: `Xᵀ(P − Y) + λ W`.
    #[test]
    fn a_regression_ends_where_the_gradient_is_zero() {
        let features: Vec<f64> = (0..30)
            .flat_map(|row| {
                let at = f64::from(row) / 10.0;
                [at.sin(), (1.7 * at).cos(), 1.0]
            })
            .collect();
        let features = Dense::new(30, 3, features);
        let labels: Vec<u32> = (0..30).map(|row| (row * row + row / 3) % 3).collect();
        let rows: Vec<usize> = (0..30).collect();
        let weights = Regression::new(&features, &labels, &rows, 3).fitted(2.0);
        for class in 0..3 {
            for column in 0..3 {
                let mut gradient = 2.0 * weights.row(class)[column];
                for (row, label) in labels.iter().enumerate() {
                    let mut scores: Vec<f64> = (0..3)
                        .map(|class| peft_linalg::dot(weights.row(class), features.row(row)))
                        .collect();
                    softmax(&mut scores);
                    let truth = f64::from(u8::from(*label == class as u32));
                    gradient += (scores[class] - truth) * features.row(row)[column];
                }
                assert!(gradient.abs() < 1e-2, "{gradient}");
            }
        }
    }
}
