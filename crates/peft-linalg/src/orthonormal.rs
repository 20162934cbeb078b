use peft_kernels::{mix_key, normal};

use crate::{Dense, dot};

/// A row that keeps less than this share of its length when the rows above it are taken out is in their
/// span: what is left is rounding.
const DEPENDENT: f64 = 1e-10;

/// Make the rows orthonormal, each by what it has that those above it have not: the method of Gram and
/// Schmidt, each row twice, for once leaves errors that grow with the condition of the rows.
///
/// A row that has nothing of its own, or is not finite, is replaced by a random direction, drawn from `key`
/// and the row's index: of a gradient of lower rank than asked for, the rest of a basis is arbitrary.
///
/// # Panics
/// If there are more rows than columns, for they cannot all be orthogonal.
pub fn orthonormalise(matrix: &mut Dense, key: u64) {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    assert!(
        rows <= columns,
        "{rows} orthogonal rows do not fit into {columns} dimensions"
    );
    for index in 0..rows {
        let (above, row) = matrix.values_mut().split_at_mut(index * columns);
        let row = &mut row[..columns];
        let mut draw = 0;
        loop {
            let before = dot(row, row).sqrt();
            for _ in 0..2 {
                for other in above.chunks_exact(columns) {
                    let along = dot(other, row);
                    for (value, direction) in row.iter_mut().zip(other) {
                        *value -= along * direction;
                    }
                }
            }
            let left = dot(row, row).sqrt();
            if left > DEPENDENT * before {
                row.iter_mut().for_each(|value| *value /= left);
                break;
            }
            row.copy_from_slice(&random(mix_key(key, &[index as u64, draw]), columns));
            draw += 1;
        }
    }
}

/// `rows` orthonormal rows of uniformly distributed directions, drawn from `key`.
///
/// # Panics
/// If there are more rows than columns.
pub fn orthonormal_rows(rows: usize, columns: usize, key: u64) -> Dense {
    let mut matrix = Dense::new(rows, columns, random(key, rows * columns));
    orthonormalise(&mut matrix, mix_key(key, &[1]));
    matrix
}

/// A matrix whose rows are orthonormal, or its columns where there are fewer of them, drawn from `key`.
pub fn semi_orthogonal(rows: usize, columns: usize, key: u64) -> Dense {
    match rows <= columns {
        true => orthonormal_rows(rows, columns, key),
        false => orthonormal_rows(columns, rows, key).transposed(),
    }
}

/// Standard normal numbers of the stream `key`.
pub(crate) fn random(key: u64, count: usize) -> Vec<f64> {
    normal(key, count).into_iter().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Threads, product};

    fn distance_from_orthonormal(rows: &Dense) -> f64 {
        let mut gram = product(rows.view(), rows.t(), Threads::One);
        gram.add_scaled(-1.0, &Dense::diagonal(rows.rows(), 1.0));
        gram.values().iter().fold(0.0, |m: f64, v| m.max(v.abs()))
    }

    #[test]
    fn random_rows_are_orthonormal_also_where_they_fill_the_space() {
        for (rows, columns) in [(1, 1), (3, 3), (5, 40), (40, 40)] {
            let found = orthonormal_rows(rows, columns, 7);
            assert!(distance_from_orthonormal(&found) < 1e-14);
        }
    }

    #[test]
    fn rows_without_a_direction_of_their_own_are_replaced() {
        let mut rows = Dense::new(3, 4, [[1.0; 4], [2.0; 4], [0.0; 4]].concat());
        orthonormalise(&mut rows, 1);
        assert!(distance_from_orthonormal(&rows) < 1e-14);
        assert!(rows.row(0).iter().all(|value| (value - 0.5).abs() < 1e-15));
    }

    #[test]
    fn nearly_dependent_rows_come_out_orthonormal() {
        let mut rows = orthonormal_rows(2, 30, 3);
        let (first, second) = (rows.row(0).to_vec(), rows.row(1).to_vec());
        let close = first.iter().zip(&second).map(|(a, b)| a + 1e-7 * b);
        let close: Vec<f64> = close.collect();
        rows.values_mut()[30..].copy_from_slice(&close);
        orthonormalise(&mut rows, 1);
        assert!(distance_from_orthonormal(&rows) < 1e-14);
        // What the second row had beside the first is kept.
        assert!((dot(rows.row(1), &second).abs() - 1.0).abs() < 1e-7);
    }
}
