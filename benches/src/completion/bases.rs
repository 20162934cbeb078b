use peft_kernels::mix_key;
use peft_linalg::{Dense, Threads, leading_singular, orthonormalise, product};

/// Power iterations on the way to the gradient's leading singular vectors. The singular values of a gradient
/// on a sample of the entries fall slowly: more of them than for a layer.
const ITERATIONS: usize = 30;

/// The two subspaces in which a deep linear network of nearly zero weights is trained, as orthonormal rows.
///
/// Let `f = W_L … W_1` start at `ε^L O` with `O` orthogonal, and let `U`, `V` be the leading left and right
/// singular vectors of the loss's gradient to `f` there. If the gradient's rank is theirs, `f` moves only
/// between `span{V, OᵀU}` on the input's side and `span{OV, U}` on the output's; in all other directions it
/// stays a multiple of `O` (2406.04112).
#[derive(Debug, Clone)]
pub struct Bases {
    /// On the side of the gradient's rows.
    pub rows: Dense,
    /// On the side of the gradient's columns; paired with `rows` by the orthogonal start.
    pub columns: Dense,
}

impl Bases {
    /// The bases of a network whose start is known: `start` is `O`, rows by columns as the gradient, and
    /// `count` the number of singular vectors of either side.
    ///
    /// # Panics
    /// If twice `count` is more than the smaller side.
    pub fn of_start(
        gradient: &Dense,
        start: &Dense,
        count: usize,
        key: u64,
        threads: Threads,
    ) -> Self {
        let found = leading_singular(gradient, count, ITERATIONS, mix_key(key, &[0]), threads);
        let moved = product(found.left.view(), start.view(), threads);
        let mut columns = found.right.stacked(&moved);
        orthonormalise(&mut columns, mix_key(key, &[1]));
        let rows = product(columns.view(), start.t(), threads);
        Self { rows, columns }
    }
}

#[cfg(test)]
mod tests {
    use peft_linalg::{dot, orthonormal_rows};

    use super::*;

    /// `vᵀv` of orthonormal rows: one matrix for every basis of a subspace.
    fn projection(rows: &Dense) -> Dense {
        product(rows.t(), rows.view(), Threads::One)
    }

    fn distance(a: &Dense, b: &Dense) -> f64 {
        let pairs = a.values().iter().zip(b.values());
        pairs.fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()))
    }

    fn low_rank(rows: usize, columns: usize, rank: usize) -> Dense {
        let mut left = orthonormal_rows(rank, rows, 11);
        for (index, row) in left.values_mut().chunks_exact_mut(rows).enumerate() {
            row.iter_mut().for_each(|v| *v *= 3.0 - index as f64);
        }
        let right = orthonormal_rows(rank, columns, 12);
        product(left.t(), right.view(), Threads::One)
    }

    /// The reference finds the input's side as what is orthogonal to the directions `v` that the gradient
    /// to the first factor maps to zero from both sides: `∂W₁ v = 0` and `∂W₁ᵀ W₁ v = 0`.
    #[test]
    fn the_span_is_the_complement_of_the_null_space() {
        let (d, rank) = (11, 2);
        let epsilon = 1e-3;
        let factors: Vec<Dense> = (0..3)
            .map(|l| orthonormal_rows(d, d, 20 + l).scaled(epsilon))
            .collect();
        let times = |a: &Dense, b: &Dense| product(a.view(), b.view(), Threads::One);
        let whole = times(&factors[2], &times(&factors[1], &factors[0]));
        let start = whole.clone().scaled(epsilon.powi(-3));
        let gradient = low_rank(d, d, rank);
        // ∂W₁ = (W₃W₂)ᵀ G
        let outer = times(&factors[2], &factors[1]);
        let to_first = product(outer.t(), gradient.view(), Threads::One);
        let back = product(to_first.t(), factors[0].view(), Threads::One);
        let scale = |m: Dense| {
            let norm = dot_all(&m).sqrt();
            m.scaled(1.0 / norm)
        };
        let both = scale(to_first).stacked(&scale(back));
        let decomposed = leading_singular(&both, d, 5, 30, Threads::One);
        // Values of zero: the null space; it has d − 2·rank dimensions.
        let rank_of_both = decomposed.values.iter().filter(|v| **v > 1e-9).count();
        assert_eq!(rank_of_both, 2 * rank);
        let null = Dense::new(
            d - 2 * rank,
            d,
            decomposed.right.values()[2 * rank * d..].to_vec(),
        );
        let mut complement = Dense::diagonal(d, 1.0);
        complement.add_scaled(-1.0, &projection(&null));
        let bases = Bases::of_start(&gradient, &start, rank, 31, Threads::One);
        assert!(distance(&projection(&bases.columns), &complement) < 1e-12);
    }

    fn dot_all(m: &Dense) -> f64 {
        dot(m.values(), m.values())
    }
}
