use std::ops::Range;

use peft_kernels::mix_key;
use peft_linalg::{Dense, Threads, product, semi_orthogonal};
use rayon::prelude::*;

use crate::{
    bases::Bases,
    descent::Network,
    full::Full,
    problem::{Problem, plain_dot},
};

/// Rows that a thread takes at a time. Fixed, so that sums over blocks do not depend on the threads.
const BLOCK: usize = 16;

/// A narrow product `f = L (M_k … M_1) Rᵀ`, of which only entries are computed.
#[derive(Debug, Clone)]
pub struct Factored {
    /// `L`, `[d, w]`.
    left: Dense,
    /// `[w, w]` each, the first applied first.
    cores: Vec<Dense>,
    /// `R`, `[d, w]`.
    right: Dense,
    /// The rate of `L` and `R` as a share of that of the cores.
    outer_rate: f64,
    /// What is missed of the observed entries, over `d²`, in the problem's order.
    missed: Vec<f64>,
}

impl Factored {
    /// The compressed form of a network that has not been trained yet: its factors in the two
    /// subspaces of `2 · rank` dimensions in which they would move if everything were observed.
    ///
    /// `outer_rate` is the paper's `γ`, the rate of the subspaces themselves. Under partial observation
    /// they must follow (`γ = 0` stalls), for the gradient that they come from sees a part of the matrix.
    ///
    /// # Panics
    /// If twice `rank` is more than the problem's size.
    pub fn compress(
        network: &Full,
        problem: &Problem,
        rank: usize,
        outer_rate: f64,
        seed: u64,
    ) -> Self {
        let (depth, epsilon) = (network.factors().len(), network.epsilon());
        let whole = network.whole();
        let (gradient, _) = Full::gradient(&whole, problem);
        let start = whole.scaled(epsilon.powi(-(depth as i32)));
        let key = mix_key(seed, &[4]);
        let bases = Bases::of_start(&gradient, &start, rank, key, Threads::All);
        Self {
            left: bases.rows.transposed(),
            cores: vec![Dense::diagonal(2 * rank, epsilon); depth],
            right: bases.columns.transposed(),
            outer_rate,
            missed: Vec::new(),
        }
    }

    /// A network of `width` columns at random, all of whose `depth` factors are semi-orthogonal times
    /// `epsilon` and are trained at one rate: what compression is compared with.
    ///
    /// # Panics
    /// If `depth` is less than 2.
    pub fn narrow(size: usize, width: usize, depth: usize, epsilon: f64, seed: u64) -> Self {
        assert!(depth >= 2, "a narrow product has two factors or more");
        let draw = |rows, columns, stream| {
            semi_orthogonal(rows, columns, mix_key(seed, &[5, stream])).scaled(epsilon)
        };
        let cores = (2..depth as u64).map(|index| draw(width, width, index));
        Self {
            left: draw(size, width, 0),
            cores: cores.collect(),
            right: draw(size, width, 1),
            outer_rate: 1.0,
            missed: Vec::new(),
        }
    }

    /// `w`.
    pub fn width(&self) -> usize {
        self.left.columns()
    }

    /// `L`, `[d, w]`.
    #[cfg(test)]
    pub fn left(&self) -> &Dense {
        &self.left
    }

    /// `R`, `[d, w]`.
    #[cfg(test)]
    pub fn right(&self) -> &Dense {
        &self.right
    }

    /// `M_k … M_1`, `[w, w]`.
    pub fn core(&self) -> Dense {
        let identity = Dense::diagonal(self.width(), 1.0);
        let fold = |before: Dense, core: &Dense| small(core, &before);
        self.cores.iter().fold(identity, fold)
    }

    /// What is missed of the observed entries, `S / d²`, times `R`, `[d, w]`; `rows` is `L K`. Returns
    /// the sum of squares of `S`, too.
    fn miss(&mut self, problem: &Problem, rows: &Dense) -> (Dense, f64) {
        let (size, width) = (problem.size(), self.width());
        let share = 1.0 / (size * size) as f64;
        self.missed.resize(problem.observed(), 0.0);
        let mut times_right = Dense::zeros(size, width);
        let right = &self.right;
        let mut rest = &mut self.missed[..];
        let outs = times_right.values_mut().chunks_mut(BLOCK * width);
        let blocks: Vec<_> = blocks(size)
            .zip(outs)
            .map(|(block, out)| {
                let count =
                    problem.entries_of(block.end - 1).end - problem.entries_of(block.start).start;
                let (own, others) = std::mem::take(&mut rest).split_at_mut(count);
                rest = others;
                (block, own, out)
            })
            .collect();
        let squares: Vec<f64> = blocks
            .into_par_iter()
            .map(|(block, missed, out)| {
                let (mut sum, mut place) = (0.0, 0);
                for (row, out) in block.zip(out.chunks_exact_mut(width)) {
                    let own = rows.row(row);
                    for (column, wanted) in problem.row(row) {
                        let other = right.row(column);
                        let off = plain_dot(own, other) - wanted;
                        sum += off * off;
                        let scaled = off * share;
                        missed[place] = scaled;
                        place += 1;
                        for (out, other) in out.iter_mut().zip(other) {
                            *out += scaled * other;
                        }
                    }
                }
                sum
            })
            .collect();
        (times_right, squares.iter().sum())
    }

    /// `Sᵀ L / d²`, `[d, w]`.
    fn missed_times_left(&self, problem: &Problem) -> Dense {
        let width = self.width();
        let mut out = Dense::zeros(problem.size(), width);
        let blocks = out.values_mut().par_chunks_mut(BLOCK * width).enumerate();
        blocks.for_each(|(block, out)| {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                for (row, place) in problem.column(block * BLOCK + index) {
                    let missed = self.missed[*place as usize];
                    for (out, left) in out.iter_mut().zip(self.left.row(*row as usize)) {
                        *out += missed * left;
                    }
                }
            }
        });
        out
    }

    /// The gradients to the cores, given that to their product.
    fn core_gradients(&self, whole: &Dense) -> Vec<Dense> {
        let width = self.width();
        let mut before = vec![Dense::diagonal(width, 1.0)];
        for core in &self.cores {
            before.push(small(core, &before[before.len() - 1]));
        }
        // M_l: (M_k … M_{l+1})ᵀ · whole · (M_{l−1} … M_1)ᵀ
        let mut back = whole.clone();
        let mut gradients = Vec::new();
        for (core, before) in self.cores.iter().zip(&before).rev() {
            gradients.push(product(back.view(), before.t(), Threads::One));
            back = product(core.t(), back.view(), Threads::One);
        }
        gradients.reverse();
        gradients
    }
}

fn small(a: &Dense, b: &Dense) -> Dense {
    product(a.view(), b.view(), Threads::One)
}

fn blocks(size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..size)
        .step_by(BLOCK)
        .map(move |start| start..(start + BLOCK).min(size))
}

impl Network for Factored {
    fn step(&mut self, problem: &Problem, rate: f64) -> f64 {
        let core = self.core();
        let rows = small(&self.left, &core);
        let (times_right, squares) = self.miss(problem, &rows);
        let to_core = product(self.left.t(), times_right.view(), Threads::One);
        let gradients = self.core_gradients(&to_core);
        let outer = rate * self.outer_rate;
        if outer != 0.0 {
            let to_right = small(&self.missed_times_left(problem), &core);
            let to_left = product(times_right.view(), core.t(), Threads::One);
            self.left.add_scaled(-outer, &to_left);
            self.right.add_scaled(-outer, &to_right);
        }
        for (core, gradient) in self.cores.iter_mut().zip(&gradients) {
            core.add_scaled(-rate, gradient);
        }
        let size = problem.size();
        0.5 * squares / (size * size) as f64
    }

    fn error(&self, problem: &Problem) -> f64 {
        let size = problem.size();
        let rows = small(&self.left, &self.core());
        let squares: Vec<f64> = (0..size)
            .into_par_iter()
            .map(|row| {
                let own = rows.row(row);
                problem.unobserved_error(row, |column| plain_dot(own, self.right.row(column)))
            })
            .collect();
        0.5 * squares.iter().sum::<f64>() / (size * size) as f64
    }

    fn parameters(&self) -> usize {
        let cores: usize = self.cores.iter().map(|core| core.values().len()).sum();
        match self.outer_rate {
            0.0 => cores,
            _ => cores + self.left.values().len() + self.right.values().len(),
        }
    }
}
