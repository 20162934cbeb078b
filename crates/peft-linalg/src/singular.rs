use peft_kernels::mix_key;

use crate::{Dense, Threads, dot, orthonormalise, product, range::range};

/// Most sweeps of Jacobi's method: it converges quadratically, and six are enough for most matrices.
const SWEEPS: usize = 60;

/// Leading singular triplets, by descending value.
#[derive(Debug, Clone)]
pub struct Triplets {
    /// Left vectors, one a row.
    pub left: Dense,
    /// Singular values.
    pub values: Vec<f64>,
    /// Right vectors, one a row.
    pub right: Dense,
}

/// The `count` leading singular triplets of a matrix, by a randomised range finder (Halko, Martinsson
/// and Tropp, [0909.4061](https://arxiv.org/abs/0909.4061), algorithm 4.4): random directions from `key`
/// are multiplied by the matrix and its transpose alternately, with `iterations` power iterations, and the
/// matrix is decomposed exactly in the space that they end in.
///
/// Errors of the vectors fall by `(σ_{count+9} / σ_count)²` an iteration. Triplets beyond the rank of the
/// matrix have value zero and arbitrary orthonormal vectors.
///
/// # Panics
/// If `count` is more than the smaller side.
pub fn leading_singular(
    matrix: &Dense,
    count: usize,
    iterations: usize,
    key: u64,
    threads: Threads,
) -> Triplets {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    assert!(
        count <= rows.min(columns),
        "{count} singular triplets of a {rows} × {columns} matrix"
    );
    let times = |rows: &Dense| product(rows.view(), matrix.view(), threads);
    let times_transpose = |rows: &Dense| product(rows.view(), matrix.t(), threads);
    let left = range(
        [rows, columns],
        (count, iterations),
        key,
        times,
        times_transpose,
    );
    // matrix ≈ leftᵀ · inside, and inside = core · right with few rows: only the core is decomposed.
    let inside = times(&left);
    let mut right = inside.clone();
    orthonormalise(&mut right, mix_key(key, &[4]));
    let core = product(inside.view(), right.t(), Threads::One);
    let (core_left, values, core_right) = small(core, mix_key(key, &[5]));
    Triplets {
        left: product(core_left.view(), left.view(), Threads::One).first_rows(count),
        right: product(core_right.view(), right.view(), Threads::One).first_rows(count),
        values: values[..count].to_vec(),
    }
}

/// Singular values `σ` of a small square matrix, descending, with left and right vectors as rows:
/// `matrix = leftᵀ diag(σ) right`. One-sided Jacobi: pairs of rows are rotated until all are orthogonal
/// (Golub and Van Loan, Matrix Computations, 8.6).
fn small(mut matrix: Dense, key: u64) -> (Dense, Vec<f64>, Dense) {
    let size = matrix.rows();
    let mut rotations = Dense::diagonal(size, 1.0);
    for _ in 0..SWEEPS {
        let mut moved = false;
        for p in 0..size {
            for q in p + 1..size {
                moved |= rotate(&mut matrix, &mut rotations, p, q);
            }
        }
        if !moved {
            break;
        }
    }
    let norms: Vec<f64> = (0..size)
        .map(|r| dot(matrix.row(r), matrix.row(r)).sqrt())
        .collect();
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| norms[*b].total_cmp(&norms[*a]));
    let sorted = |rows: &Dense| {
        let values = order.iter().flat_map(|r| rows.row(*r).iter().copied());
        Dense::new(size, rows.columns(), values.collect())
    };
    // The rows are orthogonal but not of length one; those of length zero get a direction of their own.
    let (left, mut right) = (sorted(&rotations), sorted(&matrix));
    orthonormalise(&mut right, key);
    let values = order.iter().map(|r| norms[*r]).collect();
    (left, values, right)
}

/// Rotate rows `p` and `q` of both matrices so that those of the first are orthogonal; false if they
/// already were.
fn rotate(matrix: &mut Dense, rotations: &mut Dense, p: usize, q: usize) -> bool {
    let (a, b) = (matrix.row(p), matrix.row(q));
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    if ab == 0.0 || ab.abs() <= f64::EPSILON * (aa * bb).sqrt() {
        return false;
    }
    // The smaller of the two angles that make the rows orthogonal: with the larger one the sweeps need not
    // converge.
    let half = (bb - aa) / (2.0 * ab);
    let tangent = half.signum() / (half.abs() + half.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = cosine * tangent;
    for rows in [matrix, rotations] {
        let columns = rows.columns();
        let (first, second) = rows.values_mut().split_at_mut(q * columns);
        let first = &mut first[p * columns..(p + 1) * columns];
        for (a, b) in first.iter_mut().zip(&mut second[..columns]) {
            (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orthonormal_rows;

    fn composed(left: &Dense, values: &[f64], right: &Dense) -> Dense {
        let mut scaled = left.clone();
        let columns = scaled.columns();
        for (row, value) in scaled.values_mut().chunks_exact_mut(columns).zip(values) {
            row.iter_mut().for_each(|one| *one *= value);
        }
        product(scaled.t(), right.view(), Threads::One)
    }

    fn distance(a: &Dense, b: &Dense) -> f64 {
        let pairs = a.values().iter().zip(b.values());
        pairs.fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()))
    }

    #[test]
    fn triplets_of_a_known_matrix_are_found() {
        let (left, right) = (orthonormal_rows(6, 23, 1), orthonormal_rows(6, 31, 2));
        let values = [5.0, 3.0, 3.0, 1.0, 0.1, 1e-6];
        let matrix = composed(&left, &values, &right);
        let found = leading_singular(&matrix, 5, 3, 9, Threads::One);
        for (found, wanted) in found.values.iter().zip(&values) {
            assert!((found - wanted).abs() < 1e-13, "{found} {wanted}");
        }
        // Vectors are unique up to rotations among equal values, which cancel in the product.
        let again = composed(&found.left, &found.values, &found.right);
        assert!(distance(&again, &matrix) < 2e-6);
    }

    #[test]
    fn all_triplets_of_small_and_singular_matrices() {
        for (rows, columns, rank) in [(1, 1, 1), (1, 5, 1), (4, 4, 2), (7, 3, 3), (6, 9, 0)] {
            let left = orthonormal_rows(rank, rows, 3);
            let right = orthonormal_rows(rank, columns, 4);
            let values: Vec<f64> = (0..rank).map(|i| 2.0 - 0.5 * i as f64).collect();
            let matrix = composed(&left, &values, &right);
            let all = rows.min(columns);
            let found = leading_singular(&matrix, all, 2, 5, Threads::One);
            let again = composed(&found.left, &found.values, &found.right);
            assert!(distance(&again, &matrix) < 1e-13);
            for rows in [&found.left, &found.right] {
                let gram = product(rows.view(), rows.t(), Threads::One);
                assert!(distance(&gram, &Dense::diagonal(all, 1.0)) < 1e-13);
            }
            assert!(found.values[rank..].iter().all(|value| *value < 1e-13));
        }
    }

    #[test]
    fn the_key_alone_decides() {
        let matrix = orthonormal_rows(9, 14, 6);
        let at = |key| leading_singular(&matrix, 4, 2, key, Threads::One).left;
        assert_eq!(at(1), at(1));
        // All singular values are equal: what is found depends on the draw.
        assert_ne!(at(1), at(2));
    }
}
