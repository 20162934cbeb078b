use peft_kernels::mix_key;
use peft_linalg::{Dense, Threads, orthonormal_rows, product};
use rayon::prelude::*;

use crate::{descent::Network, problem::Problem};

/// A product of square matrices of the problem's own size.
#[derive(Debug, Clone)]
pub struct Full {
    /// The first is applied first.
    factors: Vec<Dense>,
    epsilon: f64,
}

impl Full {
    /// `depth` orthogonal matrices times `epsilon`, drawn from `seed`.
    ///
    /// # Panics
    /// If `depth` is 0.
    pub fn new(size: usize, depth: usize, epsilon: f64, seed: u64) -> Self {
        assert!(depth > 0, "a product of no matrices");
        let factors = (0..depth as u64)
            .map(|index| orthonormal_rows(size, size, mix_key(seed, &[3, index])).scaled(epsilon))
            .collect();
        Self { factors, epsilon }
    }

    /// A product of these square matrices, the first applied first, that started at `epsilon` times
    /// orthogonal ones.
    ///
    /// # Panics
    /// If there are none, or they are not square matrices of one size.
    #[cfg(test)]
    pub fn from_factors(factors: Vec<Dense>, epsilon: f64) -> Self {
        let size = factors.first().map_or(0, Dense::rows);
        let square = |one: &Dense| (one.rows(), one.columns()) == (size, size);
        assert!(
            size > 0 && factors.iter().all(square),
            "factors of a square matrix"
        );
        Self { factors, epsilon }
    }

    /// The factors, the first applied first.
    pub fn factors(&self) -> &[Dense] {
        &self.factors
    }

    /// What the factors are orthogonal times of at the start.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The whole product.
    pub fn whole(&self) -> Dense {
        self.partial().pop().unwrap_or_else(|| Dense::zeros(0, 0))
    }

    /// `W_1`, `W_2 W_1`, …
    fn partial(&self) -> Vec<Dense> {
        let mut partial: Vec<Dense> = Vec::with_capacity(self.factors.len());
        for factor in &self.factors {
            partial.push(match partial.last() {
                None => factor.clone(),
                Some(before) => product(factor.view(), before.view(), Threads::All),
            });
        }
        partial
    }

    /// The gradient to the whole product, dense, and the loss.
    pub fn gradient(whole: &Dense, problem: &Problem) -> (Dense, f64) {
        let size = problem.size();
        let share = 1.0 / (size * size) as f64;
        let mut gradient = Dense::zeros(size, size);
        let rows = gradient.values_mut().par_chunks_mut(size).enumerate();
        let squares: Vec<f64> = rows
            .map(|(row, out)| {
                let values = whole.row(row);
                let mut sum = 0.0;
                for (column, wanted) in problem.row(row) {
                    let missed = values[column] - wanted;
                    out[column] = missed * share;
                    sum += missed * missed;
                }
                sum
            })
            .collect();
        (gradient, 0.5 * share * squares.iter().sum::<f64>())
    }
}

impl Network for Full {
    fn step(&mut self, problem: &Problem, rate: f64) -> f64 {
        let partial = self.partial();
        let last = partial.len() - 1;
        let (mut back, loss) = Self::gradient(&partial[last], problem);
        for index in (0..=last).rev() {
            let gradient = match index {
                0 => back.clone(),
                _ => product(back.view(), partial[index - 1].t(), Threads::All),
            };
            if index > 0 {
                back = product(self.factors[index].t(), back.view(), Threads::All);
            }
            self.factors[index].add_scaled(-rate, &gradient);
        }
        loss
    }

    fn error(&self, problem: &Problem) -> f64 {
        let whole = self.whole();
        let size = problem.size();
        let squares: Vec<f64> = (0..size)
            .into_par_iter()
            .map(|row| problem.unobserved_error(row, |column| whole.row(row)[column]))
            .collect();
        0.5 * squares.iter().sum::<f64>() / (size * size) as f64
    }

    fn parameters(&self) -> usize {
        self.factors.iter().map(|one| one.values().len()).sum()
    }
}
