//! Eigenvectors of symmetric matrices, on the host in `f64`.

use rayon::prelude::*;

/// Rotations of one eigenvalue before it is given up: it takes two or three.
const TRIES: usize = 60;

/// The eigenvalues of a symmetric matrix `[n, n]`, falling, and its eigenvectors as rows, `[n, n]`;
/// `None` if the iteration does not end, as for a matrix with NaN.
///
/// Householder's reduction to a tridiagonal matrix, then the implicit QL iteration (Golub and Van Loan,
/// Matrix Computations, 8.3): about `20 n³` operations. An eigenvector's largest component is positive,
/// so that the same matrix gives the same vectors.
pub fn eigen(matrix: &[f64], n: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    assert_eq!(matrix.len(), n * n, "the matrix must be square");
    if n == 0 {
        return Some((Vec::new(), Vec::new()));
    }
    let (mut diagonal, mut beside, reflections) = reduce(matrix.to_vec(), n);
    let mut rows = transformation(&reflections, n);
    iterate(&mut diagonal, &mut beside, &mut rows)?;
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
    Some((values, vectors.collect()))
}

/// A reflection `I − β v vᵀ` of the components from `first` on.
struct Reflection {
    first: usize,
    beta: f64,
    v: Vec<f64>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight running sums, which vectorise.
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// The tridiagonal matrix `Qᵀ A Q`: its diagonal, what stands beside it, and the reflections of `Q`.
fn reduce(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<Reflection>) {
    let mut reflections = Vec::new();
    let mut beside = vec![0.0; n];
    for k in 0..n.saturating_sub(1) {
        let first = k + 1;
        let mut v = a[k * n + first..(k + 1) * n].to_vec();
        let norm = dot(&v, &v).sqrt();
        if dot(&v[1..], &v[1..]) == 0.0 {
            beside[k] = v[0];
            continue;
        }
        beside[k] = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= beside[k];
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
    (diagonal, beside, reflections)
}

/// `Qᵀ`, `[n, n]`.
fn transformation(reflections: &[Reflection], n: usize) -> Vec<f64> {
    let mut rows = vec![0.0; n * n];
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

/// Makes the tridiagonal matrix diagonal, and turns the rows of `Qᵀ` with it.
fn iterate(diagonal: &mut [f64], beside: &mut [f64], rows: &mut [f64]) -> Option<()> {
    let n = diagonal.len();
    for l in 0..n {
        let mut tries = 0;
        loop {
            let small = |i: usize| {
                beside[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs())
            };
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            tries += 1;
            if tries > TRIES {
                return None;
            }
            sweep(diagonal, beside, rows, l, m);
        }
    }
    // NaN is never small, but a 1 × 1 matrix is not looked at.
    diagonal.iter().all(|value| value.is_finite()).then_some(())
}

/// One implicit QL step on the unreduced block `l ..= m`.
fn sweep(diagonal: &mut [f64], beside: &mut [f64], rows: &mut [f64], l: usize, m: usize) {
    let n = diagonal.len();
    // Wilkinson's shift, taken from the end that is to converge.
    let ratio = (diagonal[l + 1] - diagonal[l]) / (2.0 * beside[l]);
    let root = ratio.hypot(1.0).copysign(ratio);
    let mut g = diagonal[m] - diagonal[l] + beside[l] / (ratio + root);
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let (f, b) = (sine * beside[i], cosine * beside[i]);
        let length = f.hypot(g);
        beside[i + 1] = length;
        if length == 0.0 {
            // The block falls apart here.
            diagonal[i + 1] -= shift;
            beside[m] = 0.0;
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
    beside[l] = g;
    beside[m] = 0.0;
}

#[cfg(test)]
mod tests {
    use peft_core::kernels::normal;
    use proptest::prelude::*;

    use super::*;

    /// A symmetric matrix `B Bᵀ` of some rank, times a scale.
    fn symmetric(n: usize, rank: usize, scale: f64, key: u64) -> Vec<f64> {
        let b: Vec<f64> = normal(key, n * rank).into_iter().map(f64::from).collect();
        let at = |i: usize, j: usize| -> f64 {
            let (a, b) = (&b[i * rank..][..rank], &b[j * rank..][..rank]);
            scale * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
        };
        (0..n * n).map(|place| at(place / n, place % n)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn vectors_are_orthonormal_and_make_the_matrix(
            n in 1..40usize, rank in 0..45usize, power in -20..20i32, key: u64,
        ) {
            let scale = 10f64.powi(power);
            let matrix = symmetric(n, rank, scale, key);
            let (values, vectors) = eigen(&matrix, n).unwrap();
            prop_assert!(values.is_sorted_by(|a, b| a >= b));
            let largest = values[0].abs().max(f64::MIN_POSITIVE);
            for i in 0..n {
                for j in 0..n {
                    let (a, b) = (&vectors[i * n..][..n], &vectors[j * n..][..n]);
                    let product = dot(a, b);
                    let wanted = if i == j { 1.0 } else { 0.0 };
                    prop_assert!((product - wanted).abs() < 1e-12, "{i} {j}: {product}");
                    let rebuilt: f64 = (0..n)
                        .map(|k| values[k] * vectors[k * n + i] * vectors[k * n + j])
                        .sum();
                    prop_assert!((rebuilt - matrix[i * n + j]).abs() <= 1e-12 * largest.max(rebuilt.abs()));
                }
            }
        }
    }

    #[test]
    fn known_matrices() {
        let (values, vectors) = eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-14 && (values[1] - 1.0).abs() < 1e-14);
        assert!((vectors[0] - 0.5f64.sqrt()).abs() < 1e-14, "{vectors:?}");
        let (values, _) = eigen(&[0.0; 9], 3).unwrap();
        assert_eq!(values, [0.0; 3]);
        assert_eq!(eigen(&[], 0), Some((vec![], vec![])));
        for broken in [&[f64::NAN][..], &[1.0, f64::NAN, f64::NAN, 1.0]] {
            assert_eq!(eigen(broken, broken.len().isqrt()), None);
        }
    }
}
