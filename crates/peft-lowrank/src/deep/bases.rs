use peft_core::kernels::mix_key;
use peft_linalg::{Dense, Threads, leading_singular, orthonormalise};

/// Power iterations on the way to the gradient's leading singular vectors.
const ITERATIONS: usize = 2;

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
/// `OV` and `OᵀU` are random directions orthogonal to `U` and `V`, drawn from `key`, and no matrix of the
/// network's width is needed.
///
/// The first `⌈r/2⌉` pairs are `(random, V)`, the others `(U, random)`. An odd `r` has one direction
/// more from the columns' side.
///
/// # Panics
/// If `r` is 0, or more than the smaller side.
pub fn gradient_bases(gradient: &Dense, r: usize, key: u64) -> Bases {
    let (of_columns, of_rows) = (r.div_ceil(2), r / 2);
    let found = leading_singular(
        gradient,
        of_columns,
        ITERATIONS,
        mix_key(key, &[0]),
        Threads::One,
    );
    let completed = |known: Dense, wanted: usize, stream: u64| {
        // Rows of zeros become random directions, orthogonal to those above.
        let mut all = known.stacked(&Dense::zeros(wanted, known.columns()));
        orthonormalise(&mut all, mix_key(key, &[stream]));
        all
    };
    let columns = completed(found.right, of_rows, 1);
    let rows = completed(found.left.first_rows(of_rows), of_columns, 2);
    // The gradient's own directions last on this side: they pair with random ones on the other.
    let width = rows.columns();
    let (own, random) = rows.values().split_at(of_rows * width);
    let rows = Dense::new(r, width, [random, own].concat());
    Bases { rows, columns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peft_linalg::{orthonormal_rows, product};

    /// `vᵀv` of orthonormal rows: the same for every basis of a subspace.
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

    #[test]
    fn bases_hold_the_gradients_directions_and_are_orthonormal() {
        let gradient = low_rank(9, 14, 2);
        let exact = leading_singular(&gradient, 2, 5, 1, Threads::One);
        for r in [1, 2, 3, 4, 7] {
            let bases = gradient_bases(&gradient, r, 5);
            for rows in [&bases.rows, &bases.columns] {
                let gram = product(rows.view(), rows.t(), Threads::One);
                assert!(distance(&gram, &Dense::diagonal(r, 1.0)) < 1e-13);
            }
            // A direction lies in a subspace if projecting keeps it.
            let keeps = |basis: &Dense, vectors: Dense| {
                let kept = product(vectors.view(), projection(basis).view(), Threads::One);
                assert!(distance(&kept, &vectors) < 1e-12);
            };
            keeps(&bases.columns, exact.right.first_rows(r.div_ceil(2).min(2)));
            keeps(&bases.rows, exact.left.first_rows((r / 2).min(2)));
        }
    }
}
