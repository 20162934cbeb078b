use peft_kernels::mix_key;

use crate::{
    Dense, Threads,
    orthonormal::{orthonormalise, random},
    product, symmetric_eigen,
};

/// Directions beyond those that are asked for, which make the last of these converge: the space found is
/// near the leading one by the ratio of the first singular value outside of it to the last one wanted.
pub(crate) const OVERSAMPLING: usize = 8;

/// Orthonormal rows that span nearly what the `count` leading left singular vectors of a matrix
/// `[rows, columns]` span, and [`OVERSAMPLING`] more: random rows from `key` are multiplied by its
/// transpose, then by it and its transpose once an iteration.
pub(crate) fn range(
    [rows, columns]: [usize; 2],
    (count, iterations): (usize, usize),
    key: u64,
    times: impl Fn(&Dense) -> Dense,
    times_transpose: impl Fn(&Dense) -> Dense,
) -> Dense {
    let wide = (count + OVERSAMPLING).min(rows.min(columns));
    let mut left = times_transpose(&Dense::new(wide, columns, random(key, wide * columns)));
    orthonormalise(&mut left, mix_key(key, &[1]));
    for iteration in 0..iterations as u64 {
        let mut right = times(&left);
        orthonormalise(&mut right, mix_key(key, &[2, iteration]));
        left = times_transpose(&right);
        orthonormalise(&mut left, mix_key(key, &[3, iteration]));
    }
    left
}

/// The `count` leading eigenvectors of a symmetric matrix `[n, n]` without negative eigenvalues, as rows
/// `[count, n]`, by a randomised range finder (Halko, Martinsson and Tropp,
/// [0909.4061](https://arxiv.org/abs/0909.4061)) with random numbers of the stream `key`; `None` if the
/// matrix is not finite.
///
/// Of the matrix only products are needed: `times` multiplies rows `[_, n]` by it, wherever it lies and in
/// whatever precision. Three power iterations and one more product for the eigenproblem in the space that
/// they found. Meant for second moments, whose eigenvalues are squares and fall twice as fast as the
/// singular values of what they are moments of; where more than a third of the vectors are wanted,
/// [`symmetric_eigen`] takes no longer.
///
/// # Panics
/// If `count` is more than `n`, or `times` changes the shape of rows.
pub fn leading_eigenvectors(
    n: usize,
    count: usize,
    key: u64,
    times: impl Fn(&Dense) -> Dense,
) -> Option<Dense> {
    assert!(count <= n, "{count} eigenvectors of a matrix {n} × {n}");
    // A symmetric matrix is its own transpose: three products.
    let basis = range([n, n], (count, 1), key, &times, &times);
    let mut inside = product(times(&basis).view(), basis.t(), Threads::All);
    // Symmetric but for rounding in `times`, which may be single precision.
    let transposed = inside.transposed();
    inside.add_scaled(1.0, &transposed);
    let found = symmetric_eigen(&inside.scaled(0.5))?;
    let leading = found.vectors.first_rows(count);
    Some(product(leading.view(), basis.view(), Threads::All))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dot, orthonormal_rows};

    /// `Σ σᵢ vᵢ vᵢᵀ` of these values.
    fn symmetric(n: usize, values: &[f64]) -> (Dense, Dense) {
        let vectors = orthonormal_rows(values.len(), n, 1);
        let mut scaled = vectors.clone();
        for (row, value) in scaled.values_mut().chunks_exact_mut(n).zip(values) {
            row.iter_mut().for_each(|one| *one *= value);
        }
        (product(scaled.t(), vectors.view(), Threads::One), vectors)
    }

    #[test]
    fn eigenvectors_of_a_known_matrix_are_found() {
        let values: Vec<f64> = (1..30).map(|i| f64::from(i).powi(-4)).collect();
        let (matrix, wanted) = symmetric(60, &values);
        let times = |rows: &Dense| product(rows.view(), matrix.view(), Threads::One);
        let found = leading_eigenvectors(60, 5, 3, times).unwrap();
        for index in 0..5 {
            let cosine = dot(found.row(index), wanted.row(index)).abs();
            assert!((cosine - 1.0).abs() < 1e-9, "{index}: {cosine}");
        }
        assert_eq!(found, leading_eigenvectors(60, 5, 3, times).unwrap());
    }

    #[test]
    fn orthonormal_also_beyond_the_rank() {
        let (matrix, _) = symmetric(40, &[2.0, 1.0]);
        let times = |rows: &Dense| product(rows.view(), matrix.view(), Threads::One);
        for count in [0, 1, 5, 40] {
            let found = leading_eigenvectors(40, count, 3, times).unwrap();
            let mut gram = product(found.view(), found.t(), Threads::One);
            gram.add_scaled(-1.0, &Dense::diagonal(count, 1.0));
            let worst = gram.values().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            assert!(worst < 1e-13, "{count}: {worst}");
        }
    }

    #[test]
    fn a_matrix_that_is_not_finite_has_none() {
        let times = |rows: &Dense| Dense::new(rows.rows(), 30, vec![f64::NAN; rows.rows() * 30]);
        assert_eq!(leading_eigenvectors(30, 2, 1, times), None);
    }
}
