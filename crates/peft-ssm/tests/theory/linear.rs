//! Small dense matrices, rows of rows.

pub type Matrix = Vec<Vec<f64>>;

pub fn matrix(values: &[f64], columns: usize) -> Matrix {
    values.chunks(columns).map(<[f64]>::to_vec).collect()
}

pub fn identity(size: usize) -> Matrix {
    let row = |i: usize| (0..size).map(|j| f64::from(u8::from(i == j))).collect();
    (0..size).map(row).collect()
}

pub fn transpose(a: &Matrix) -> Matrix {
    let columns = a[0].len();
    (0..columns)
        .map(|j| a.iter().map(|row| row[j]).collect())
        .collect()
}

pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = transpose(b);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
    a.iter()
        .map(|row| columns.iter().map(|column| dot(row, column)).collect())
        .collect()
}

pub fn combined(a: &Matrix, factor: f64, b: &Matrix) -> Matrix {
    let rows = a.iter().zip(b);
    rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + factor * b).collect())
        .collect()
}

/// `[[a, b], [c, d]]`
pub fn blocks(a: &Matrix, b: &Matrix, c: &Matrix, d: &Matrix) -> Matrix {
    let beside = |x: &Matrix, y: &Matrix| -> Matrix {
        let rows = x.iter().zip(y);
        rows.map(|(x, y)| [x.clone(), y.clone()].concat()).collect()
    };
    [beside(a, b), beside(c, d)].concat()
}

/// `a⁻¹ b`, by elimination with the largest pivots.
pub fn solve(a: &Matrix, b: &Matrix) -> Matrix {
    let size = a.len();
    let rows = a.iter().zip(b);
    let mut all: Matrix = rows.map(|(a, b)| [a.clone(), b.clone()].concat()).collect();
    for k in 0..size {
        let pivot = (k..size)
            .max_by(|i, j| all[*i][k].abs().total_cmp(&all[*j][k].abs()))
            .unwrap();
        all.swap(k, pivot);
        let first = all[k].clone();
        assert!(first[k].abs() > 1e-9, "singular");
        for (i, row) in all.iter_mut().enumerate() {
            let factor = match i == k {
                true => 1.0 - 1.0 / first[k],
                false => row[k] / first[k],
            };
            for (value, first) in row.iter_mut().zip(&first) {
                *value -= factor * first;
            }
        }
    }
    all.into_iter().map(|row| row[size..].to_vec()).collect()
}

/// An orthonormal basis of the rows, without those that depend on others up to a tolerance.
pub fn basis(a: &Matrix) -> Matrix {
    let mut basis: Matrix = Vec::new();
    for row in a {
        let rest = residual(&basis, row);
        let length = rest.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 1e-10 {
            basis.push(rest.iter().map(|x| x / length).collect());
        }
    }
    basis
}

/// What of a vector lies outside of an orthonormal basis.
pub fn residual(basis: &Matrix, vector: &[f64]) -> Vec<f64> {
    let mut rest = vector.to_vec();
    // Twice is enough.
    for _ in 0..2 {
        for direction in basis {
            let part: f64 = direction.iter().zip(&rest).map(|(d, x)| d * x).sum();
            for (x, d) in rest.iter_mut().zip(direction) {
                *x -= part * d;
            }
        }
    }
    rest
}
