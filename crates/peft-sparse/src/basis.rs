//! Bases in which gradients are concentrated.

use burn::{Tensor, tensor::TensorData};
use peft_core::kernels::linear;
use peft_linalg::{Dense, leading_eigenvectors, orthonormalise, symmetric_eigen};

/// Where a larger share of the eigenvectors is wanted, all of them are found at once: the range finder's own
/// products and eigenproblem would take as long.
const FEW: usize = 3;
/// Directions that the range finder looks at beyond those that are wanted.
const MORE: usize = 8;

/// The first `count` eigenvectors of a symmetric matrix without negative eigenvalues, as rows
/// `[count, n]`, those of largest eigenvalues first; `None` if it is not finite.
///
/// Where few are wanted, by the randomised range finder (Halko, Martinsson and Tropp, 0909.4061) with
/// random numbers of the stream `key`, whose products with the matrix are computed where and in what it is.
/// Else by all eigenvectors, on the host.
///
/// # Panics
/// If the matrix is not square, or has fewer than `count` columns.
pub fn leading(matrix: &Tensor<2>, count: usize, key: u64) -> Option<Tensor<2>> {
    let [n, columns] = matrix.dims();
    assert!(
        n == columns && count <= n,
        "{count} eigenvectors of {n} x {columns}"
    );
    let rows = if FEW * (count + MORE) < n {
        let times = |rows: &Dense| host(linear(device(rows, matrix), matrix.clone(), None));
        let mut rows = leading_eigenvectors(n, count, key, times)?;
        // To the last bit of the double, whatever the device computes in.
        orthonormalise(&mut rows, key);
        rows
    } else {
        let all = symmetric_eigen(&host(matrix.clone()))?;
        all.vectors.first_rows(count)
    };
    Some(device(&rows, matrix))
}

fn host(tensor: Tensor<2>) -> Dense {
    let [rows, columns] = tensor.dims();
    Dense::new(rows, columns, tensor.into_data().iter::<f64>().collect())
}

/// Values of the matrix's type, where it is.
fn device(rows: &Dense, like: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(rows.values().to_vec(), [rows.rows(), rows.columns()]);
    let options = (&like.device(), like.dtype());
    Tensor::from_data(data.convert_dtype(like.dtype()), options)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use peft_core::kernels::normal;

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
            (0..n).map(|i| values.row(i)[i]).sum::<f64>()
        };
        trace(&inside) / trace(matrix)
    }

    #[test]
    fn few_vectors_catch_what_the_first_of_all_do() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let matrix = moments(150, dtype);
            let few = leading(&matrix, 20, 3).unwrap();
            let all = symmetric_eigen(&host(matrix.clone())).unwrap();
            let all = device(&all.vectors.first_rows(20), &matrix);
            let best = energy(&matrix, &all);
            let caught = energy(&matrix, &few);
            assert!(
                (best - caught).abs() < 1e-4,
                "{dtype:?}: {caught} of {best}"
            );
            let square = host(few.clone().matmul(few.clone().transpose()));
            for (index, value) in square.values().iter().enumerate() {
                let wanted = if index % 21 == 0 { 1.0 } else { 0.0 };
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
        for (index, value) in square.values().iter().enumerate() {
            let wanted = if index % 6 == 0 { 1.0 } else { 0.0 };
            assert!((value - wanted).abs() < 1e-5, "{square:?}");
        }
        let first = host(basis.narrow(0, 0, 1));
        assert!(
            first
                .values()
                .iter()
                .all(|v| (v - 90f64.sqrt().recip()).abs() < 1e-5)
        );
        assert!(leading(&Tensor::<2>::zeros([70, 70], &Device::default()), 4, 1).is_some());
        let broken = Tensor::<2>::full([70, 70], f32::NAN, &Device::default());
        assert!(leading(&broken, 4, 1).is_none());
    }
}
