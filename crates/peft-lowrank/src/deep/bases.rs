use peft_core::kernels::mix_key;

use crate::dense::{Dense, Threads, leading, orthonormalize, product};

/// Products with the gradient and its transpose on the way to its leading singular vectors.
const TURNS: usize = 2;

/// The two subspaces in which a deep linear network of nearly zero weights is trained, as orthonormal
/// rows: `r` of each.
///
/// Let `f = W_L … W_1` start at `ε^L O` with `O` orthogonal, and let `U`, `V` be the leading left and
/// right singular vectors of the loss's gradient to `f` there. If the gradient's rank is theirs, `f`
/// moves only between `span{V, OᵀU}` on the input's side and `span{OV, U}` on the output's; in all other
/// directions it stays a multiple of `O` (2406.04112).
#[derive(Debug, Clone)]
pub struct Bases {
    /// On the side of the gradient's rows.
    pub rows: Dense,
    /// On the side of the gradient's columns; paired with `rows` by the orthogonal start.
    pub columns: Dense,
}

/// The bases of a gradient, where it is all that is known: the start `O` of the network is random, so
/// `OV` and `OᵀU` are random directions beside `U` and `V`, drawn from `key`, and no matrix of the
/// network's width is needed.
///
/// The first `⌈r/2⌉` pairs are `(random, V)`, the others `(U, random)`. An odd `r` has one direction
/// more from the columns' side.
///
/// # Panics
/// If `r` is 0, or more than the smaller side.
pub fn gradient_bases(gradient: &Dense, r: usize, key: u64) -> Bases {
    let (of_columns, of_rows) = (r.div_ceil(2), r / 2);
    let found = leading(
        gradient,
        of_columns,
        TURNS,
        mix_key(key, &[0]),
        Threads::One,
    );
    let beside = |known: Dense, wanted: usize, stream: u64| {
        // Rows of zeros become random directions beside those above.
        let mut all = known.stacked(&Dense::zeros(wanted, known.columns()));
        orthonormalize(&mut all, mix_key(key, &[stream]));
        all
    };
    let columns = beside(found.right, of_rows, 1);
    let rows = beside(found.left.first_rows(of_rows), of_columns, 2);
    // The gradient's own directions last on this side: they pair with random ones on the other.
    let width = rows.columns();
    let (own, random) = rows.values().split_at(of_rows * width);
    let rows = Dense::new(r, width, [random, own].concat());
    Bases { rows, columns }
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
        // The singular values of a gradient on a sample fall slowly: more turns than for a layer.
        let found = leading(gradient, count, 30, mix_key(key, &[0]), threads);
        let moved = product(found.left.factor(), start.factor(), threads);
        let mut columns = found.right.stacked(&moved);
        orthonormalize(&mut columns, mix_key(key, &[1]));
        let rows = product(columns.factor(), start.turned(), threads);
        Self { rows, columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::orthonormal_rows;

    /// `vᵀv` of orthonormal rows: the same for every basis of a subspace.
    fn projection(rows: &Dense) -> Dense {
        product(rows.turned(), rows.factor(), Threads::One)
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
        product(left.turned(), right.factor(), Threads::One)
    }

    #[test]
    fn bases_hold_the_gradients_directions_and_are_orthonormal() {
        let gradient = low_rank(9, 14, 2);
        let exact = leading(&gradient, 2, 5, 1, Threads::One);
        for r in [1, 2, 3, 4, 7] {
            let bases = gradient_bases(&gradient, r, 5);
            for rows in [&bases.rows, &bases.columns] {
                let gram = product(rows.factor(), rows.turned(), Threads::One);
                assert!(distance(&gram, &Dense::diagonal(r, 1.0)) < 1e-13);
            }
            // A direction lies in a subspace if projecting keeps it.
            let keeps = |basis: &Dense, vectors: Dense| {
                let kept = product(vectors.factor(), projection(basis).factor(), Threads::One);
                assert!(distance(&kept, &vectors) < 1e-12);
            };
            keeps(&bases.columns, exact.right.first_rows(r.div_ceil(2).min(2)));
            keeps(&bases.rows, exact.left.first_rows((r / 2).min(2)));
        }
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
        let times = |a: &Dense, b: &Dense| product(a.factor(), b.factor(), Threads::One);
        let whole = times(&factors[2], &times(&factors[1], &factors[0]));
        let start = whole.clone().scaled(epsilon.powi(-3));
        let gradient = low_rank(d, d, rank);
        // ∂W₁ = (W₃W₂)ᵀ G
        let outer = times(&factors[2], &factors[1]);
        let to_first = product(outer.turned(), gradient.factor(), Threads::One);
        let back = product(to_first.turned(), factors[0].factor(), Threads::One);
        let scale = |m: Dense| {
            let norm = dot_all(&m).sqrt();
            m.scaled(1.0 / norm)
        };
        let both = scale(to_first).stacked(&scale(back));
        let decomposed = leading(&both, d, 5, 30, Threads::One);
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
        crate::dense::dot(m.values(), m.values())
    }
}
