use burn::{Tensor, tensor::TensorData};
use peft_core::kernels::{linear, normal};

use super::eigen;

/// Vectors beyond those that are wanted, which make the last of them converge.
const MORE: usize = 8;
/// Multiplications with the matrix. Second moments have the squares of the gradients' singular values,
/// so that each of these counts as two power iterations of the usual range finder.
const POWERS: usize = 3;

/// The first `count` eigenvectors of a symmetric matrix without negative eigenvalues, as rows
/// `[count, n]`, those of largest eigenvalues first; `None` if it is not finite.
///
/// Where few are wanted, by the randomised range finder (Halko, Martinsson and Tropp, 0909.4061) with
/// random numbers of the stream `key`: products with the matrix, and eigenvectors of a matrix of
/// `count + 8`. Else by all eigenvectors.
///
/// # Panics
/// If the matrix is not square, or has fewer than `count` columns.
pub fn leading(matrix: &Tensor<2>, count: usize, key: u64) -> Option<Tensor<2>> {
    let [n, columns] = matrix.dims();
    assert!(
        n == columns && count <= n,
        "{count} eigenvectors of {n} x {columns}"
    );
    let size = count + MORE;
    let rows = match 3 * size < n {
        true => found(matrix, n, size, key)?,
        false => eigen(&host(matrix.clone()), n)?.1,
    };
    let kept = TensorData::new(rows[..count * n].to_vec(), [count, n]);
    Some(device(kept, matrix))
}

/// Approximate eigenvectors as rows, `[size, n]`.
fn found(matrix: &Tensor<2>, n: usize, size: usize, key: u64) -> Option<Vec<f64>> {
    let mut rows: Vec<f64> = normal(key, size * n).into_iter().map(f64::from).collect();
    let times = |rows: &[f64]| {
        let rows = device(TensorData::new(rows.to_vec(), [size, n]), matrix);
        host(linear(rows, matrix.clone(), None))
    };
    for _ in 0..POWERS {
        rows = times(&rows);
        orthonormalise(&mut rows, n, key);
    }
    // The matrix within their span, and its eigenvectors in terms of them.
    let image = device(TensorData::new(times(&rows), [size, n]), matrix);
    let basis = device(TensorData::new(rows, [size, n]), matrix);
    let small = host(linear(image, basis.clone().transpose(), None));
    let symmetric: Vec<f64> = (0..size * size)
        .map(|place| {
            let (i, j) = (place / size, place % size);
            0.5 * (small[i * size + j] + small[j * size + i])
        })
        .collect();
    let (_, turned) = eigen(&symmetric, size)?;
    let turned = device(TensorData::new(turned, [size, size]), matrix);
    let mut rows = host(linear(turned, basis, None));
    // To the last bit of the double, whatever the device computes in.
    orthonormalise(&mut rows, n, key);
    Some(rows)
}

/// Makes rows of `n` orthonormal, each orthogonal to those before it (Gram and Schmidt, twice). A row
/// that is in the span of those before it is replaced.
fn orthonormalise(rows: &mut [f64], n: usize, key: u64) {
    let count = rows.len() / n;
    for index in 0..count {
        let (before, rest) = rows.split_at_mut(index * n);
        let row = &mut rest[..n];
        let mut tries = 0;
        loop {
            let start = norm(row);
            for _ in 0..2 {
                for other in before.chunks(n) {
                    let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                    for (value, other) in row.iter_mut().zip(other) {
                        *value -= along * other;
                    }
                }
            }
            let left = norm(row);
            // Also false for NaN, which no try can mend.
            if left > 1e-10 * start || tries > 3 {
                row.iter_mut().for_each(|value| *value /= left);
                break;
            }
            tries += 1;
            let fresh = normal(key ^ (index as u64 + 1).wrapping_mul(tries), n);
            for (value, fresh) in row.iter_mut().zip(fresh) {
                *value = f64::from(fresh);
            }
        }
    }
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn host(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Values of the matrix's type, where it is.
fn device(data: TensorData, like: &Tensor<2>) -> Tensor<2> {
    let options = (&like.device(), like.dtype());
    Tensor::from_data(data.convert_dtype(like.dtype()), options)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;

    /// Second moments of gradients whose singular values fall as a power.
    fn moments(n: usize, dtype: DType) -> Tensor<2> {
        let options = (&Device::default(), DType::F64);
        let random = |key, rows| {
            let values: Vec<f64> = normal(key, rows * n).into_iter().map(f64::from).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, n]), options)
        };
        let mut sum = Tensor::zeros([n, n], options);
        for index in 0..40u64 {
            let size = 1.0 / (index as f64 + 1.0);
            let row = random(index, 1).mul_scalar(size);
            sum = sum + row.clone().transpose().matmul(row);
        }
        let noise = random(99, 60).mul_scalar(1e-3);
        (sum + noise.clone().transpose().matmul(noise)).cast(dtype)
    }

    fn energy(matrix: &Tensor<2>, basis: &Tensor<2>) -> f64 {
        let inside = basis
            .clone()
            .matmul(matrix.clone())
            .matmul(basis.clone().transpose());
        let trace = |m: &Tensor<2>| {
            let [n, _] = m.dims();
            let values = host(m.clone());
            (0..n).map(|i| values[i * n + i]).sum::<f64>()
        };
        trace(&inside) / trace(matrix)
    }

    #[test]
    fn few_vectors_catch_what_the_first_of_all_do() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let matrix = moments(150, dtype);
            let few = leading(&matrix, 20, 3).unwrap();
            let (_, all) = eigen(&host(matrix.clone()), 150).unwrap();
            let all = device(
                TensorData::new(all[..20 * 150].to_vec(), [20, 150]),
                &matrix,
            );
            let best = energy(&matrix, &all);
            let caught = energy(&matrix, &few);
            assert!(
                (best - caught).abs() < 1e-4,
                "{dtype:?}: {caught} of {best}"
            );
            let square = host(few.clone().matmul(few.clone().transpose()));
            for (place, value) in square.iter().enumerate() {
                let wanted = if place % 21 == 0 { 1.0 } else { 0.0 };
                assert!((value - wanted).abs() < tolerance, "{dtype:?}: {value}");
            }
            // Once more, the same bits.
            assert_eq!(host(few), host(leading(&matrix, 20, 3).unwrap()));
        }
    }

    #[test]
    fn a_matrix_of_low_rank_has_as_many_vectors_as_wanted() {
        let row = Tensor::<2>::from_floats([[3.0; 90]], &Device::default());
        let matrix = row.clone().transpose().matmul(row);
        let basis = leading(&matrix, 5, 1).unwrap();
        let square = host(basis.clone().matmul(basis.clone().transpose()));
        for (place, value) in square.iter().enumerate() {
            let wanted = if place % 6 == 0 { 1.0 } else { 0.0 };
            assert!((value - wanted).abs() < 1e-5, "{square:?}");
        }
        let first = host(basis.narrow(0, 0, 1));
        assert!(
            first
                .iter()
                .all(|v| (v - 90f64.sqrt().recip()).abs() < 1e-5)
        );
        assert!(leading(&Tensor::<2>::zeros([70, 70], &Device::default()), 4, 1).is_some());
        let broken = Tensor::<2>::full([70, 70], f32::NAN, &Device::default());
        assert!(leading(&broken, 4, 1).is_none());
    }
}
