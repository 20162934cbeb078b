use rayon::prelude::*;

use crate::{Dense, dot};

/// Most QL steps for one eigenvalue: it takes two or three.
const STEPS: usize = 60;

/// Eigenvalues and eigenvectors of a symmetric matrix, by descending value.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Eigenvalues.
    pub values: Vec<f64>,
    /// Eigenvectors, one a row.
    pub vectors: Dense,
}

/// All eigenvalues and eigenvectors of a symmetric matrix `[n, n]`; `None` if the iteration does not end,
/// as for a matrix with NaN.
///
/// Householder's reduction to a tridiagonal matrix, then the implicit QL iteration (Golub and Van Loan,
/// Matrix Computations, 8.3): about `20 n³` operations. An eigenvector's largest component is positive,
/// so that the same matrix gives the same vectors.
///
/// # Panics
/// If the matrix is not square.
pub fn symmetric_eigen(matrix: &Dense) -> Option<Eigen> {
    let n = matrix.rows();
    assert_eq!(n, matrix.columns(), "the matrix must be square");
    if n == 0 {
        return Some(Eigen {
            values: Vec::new(),
            vectors: Dense::zeros(0, 0),
        });
    }
    let (mut diagonal, mut off, reflections) = reduce(matrix.values().to_vec(), n);
    let mut rows = transformation(&reflections, n);
    iterate(&mut diagonal, &mut off, &mut rows)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]));
    let values = order.iter().map(|&i| diagonal[i]).collect();
    let vectors = order.iter().flat_map(|&i| {
        let row = &rows[i * n..(i + 1) * n];
        let largest = row
            .iter()
            .fold(0.0, |m: f64, &v| if v.abs() > m.abs() { v } else { m });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        row.iter().map(move |value| sign * value)
    });
    Some(Eigen {
        values,
        vectors: Dense::new(n, n, vectors.collect()),
    })
}

/// A reflection `I − β v vᵀ` of the components from `first` on.
struct Reflection {
    first: usize,
    beta: f64,
    v: Vec<f64>,
}

/// The tridiagonal matrix `Qᵀ A Q`: its diagonal, what stands beside it, and the reflections of `Q`.
fn reduce(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<Reflection>) {
    let mut reflections = Vec::new();
    let mut off = vec![0.0; n];
    for k in 0..n.saturating_sub(1) {
        let first = k + 1;
        let mut v = a[k * n + first..(k + 1) * n].to_vec();
        let norm = dot(&v, &v).sqrt();
        // Tridiagonal already, here: a reflection would divide by zero where v is zero, too.
        if dot(&v[1..], &v[1..]) == 0.0 {
            off[k] = v[0];
            continue;
        }
        // Of the two signs the one that adds to v[0]: the other would cancel its leading digits.
        off[k] = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= off[k];
        let beta = 2.0 / dot(&v, &v);
        // A ← A − v wᵀ − w vᵀ with w = p − (β/2)(pᵀ v) v and p = β A v, over what is left of A.
        let mut w: Vec<f64> = a[first * n..]
            .par_chunks(n)
            .map(|row| beta * dot(&row[first..], &v))
            .collect();
        let half = 0.5 * beta * dot(&w, &v);
        for (w, v) in w.iter_mut().zip(&v) {
            *w -= half * v;
        }
        a[first * n..]
            .par_chunks_mut(n)
            .zip(v.par_iter().zip(&w))
            .for_each(|(row, (&v_row, &w_row))| {
                for ((value, v), w) in row[first..].iter_mut().zip(&v).zip(&w) {
                    *value -= v_row * w + w_row * v;
                }
            });
        reflections.push(Reflection { first, beta, v });
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    (diagonal, off, reflections)
}

/// `Qᵀ`, `[n, n]`.
fn transformation(reflections: &[Reflection], n: usize) -> Vec<f64> {
    let mut rows = vec![0.0; n * n];
    // Row by row, so that threads share nothing and every sum has one order.
    rows.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        // Row i of Qᵀ is column i of Q = H₁ H₂ …, applied to a unit vector from the last on.
        row[i] = 1.0;
        for Reflection { first, beta, v } in reflections.iter().rev() {
            let along = beta * dot(&row[*first..], v);
            for (value, v) in row[*first..].iter_mut().zip(v) {
                *value -= along * v;
            }
        }
    });
    rows
}

/// Makes the tridiagonal matrix diagonal, and rotates the rows of `Qᵀ` with it.
fn iterate(diagonal: &mut [f64], off: &mut [f64], rows: &mut [f64]) -> Option<()> {
    let n = diagonal.len();
    for l in 0..n {
        let mut steps = 0;
        loop {
            let small = |i: usize| {
                off[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs())
            };
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            steps += 1;
            if steps > STEPS {
                return None;
            }
            sweep(diagonal, off, rows, l, m);
        }
    }
    // NaN is never small, but a 1 × 1 matrix is not looked at.
    diagonal.iter().all(|value| value.is_finite()).then_some(())
}

/// One implicit QL step on the unreduced block `l ..= m`.
fn sweep(diagonal: &mut [f64], off: &mut [f64], rows: &mut [f64], l: usize, m: usize) {
    let n = diagonal.len();
    // Wilkinson's shift, taken from the end that is to converge.
    let ratio = (diagonal[l + 1] - diagonal[l]) / (2.0 * off[l]);
    let root = ratio.hypot(1.0).copysign(ratio);
    let mut g = diagonal[m] - diagonal[l] + off[l] / (ratio + root);
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let (f, b) = (sine * off[i], cosine * off[i]);
        let length = f.hypot(g);
        off[i + 1] = length;
        if length == 0.0 {
            // The block falls apart here.
            diagonal[i + 1] -= shift;
            off[m] = 0.0;
            return;
        }
        (sine, cosine) = (f / length, g / length);
        g = diagonal[i + 1] - shift;
        let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
        shift = sine * r;
        diagonal[i + 1] = g + shift;
        g = cosine * r - b;
        let (upper, lower) = rows[i * n..(i + 2) * n].split_at_mut(n);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let (a, b) = (*upper, *lower);
            *lower = sine * a + cosine * b;
            *upper = cosine * a - sine * b;
        }
    }
    diagonal[l] -= shift;
    off[l] = g;
    off[m] = 0.0;
}

#[cfg(test)]
mod tests {
    use peft_kernels::normal;
    use proptest::prelude::*;

    use super::*;

    /// A symmetric matrix `B Bᵀ` of some rank, times a scale.
    fn symmetric(n: usize, rank: usize, scale: f64, key: u64) -> Dense {
        let b: Vec<f64> = normal(key, n * rank).into_iter().map(f64::from).collect();
        let at = |i: usize, j: usize| -> f64 {
            let (a, b) = (&b[i * rank..][..rank], &b[j * rank..][..rank]);
            scale * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
        };
        let values = (0..n * n).map(|index| at(index / n, index % n));
        Dense::new(n, n, values.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn vectors_are_orthonormal_and_make_the_matrix(
            n in 1..40usize, rank in 0..45usize, power in -20..20i32, key: u64,
        ) {
            let scale = 10f64.powi(power);
            let matrix = symmetric(n, rank, scale, key);
            let Eigen { values, vectors } = symmetric_eigen(&matrix).unwrap();
            prop_assert!(values.is_sorted_by(|a, b| a >= b));
            let largest = values[0].abs().max(f64::MIN_POSITIVE);
            for i in 0..n {
                for j in 0..n {
                    let product = dot(vectors.row(i), vectors.row(j));
                    let wanted = if i == j { 1.0 } else { 0.0 };
                    prop_assert!((product - wanted).abs() < 1e-12, "{i} {j}: {product}");
                    let rebuilt: f64 = (0..n)
                        .map(|k| values[k] * vectors.row(k)[i] * vectors.row(k)[j])
                        .sum();
                    prop_assert!((rebuilt - matrix.row(i)[j]).abs() <= 1e-12 * largest.max(rebuilt.abs()));
                }
            }
        }
    }

    fn square(values: &[f64]) -> Dense {
        let n = values.len().isqrt();
        Dense::new(n, n, values.to_vec())
    }

    #[test]
    fn known_matrices() {
        let found = symmetric_eigen(&square(&[2.0, 1.0, 1.0, 2.0])).unwrap();
        assert!((found.values[0] - 3.0).abs() < 1e-14 && (found.values[1] - 1.0).abs() < 1e-14);
        let first = found.vectors.row(0);
        assert!((first[0] - 0.5f64.sqrt()).abs() < 1e-14, "{first:?}");
        let zeros = symmetric_eigen(&Dense::zeros(3, 3)).unwrap();
        assert_eq!(zeros.values, [0.0; 3]);
        assert!(symmetric_eigen(&square(&[])).unwrap().values.is_empty());
        for broken in [&[f64::NAN][..], &[1.0, f64::NAN, f64::NAN, 1.0]] {
            assert_eq!(symmetric_eigen(&square(broken)), None);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let matrix = symmetric(97, 60, 1.0, 3);
        let at = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| symmetric_eigen(&matrix))
        };
        assert_eq!(at(1), at(3));
    }
}
