//! Rows into lanes and back: the transposition of sixteen rows.

use peft_fft::{LANES, Lanes};

use crate::Real;

/// A square of rows, or of columns.
type Square<T> = [Lanes<T>; LANES];

/// `lanes[j][i] = rows[i][j]`, and zero in lanes that have no row.
#[inline(always)]
pub fn rows_to_lanes<T: Real>(rows: &[T], lanes: &mut [Lanes<T>]) {
    let width = lanes.len();
    let (squares, rest) = lanes.as_chunks_mut::<LANES>();
    let first_of_rest = squares.len() * LANES;
    for (tile, out) in squares.iter_mut().enumerate() {
        let mut square = [[T::zero(); LANES]; LANES];
        for (square, row) in square.iter_mut().zip(rows.chunks_exact(width)) {
            square.copy_from_slice(&row[tile * LANES..][..LANES]);
        }
        *out = transposed(square);
    }
    rest.fill([T::zero(); LANES]);
    for (i, row) in rows.chunks_exact(width).enumerate() {
        for (lanes, &value) in rest.iter_mut().zip(&row[first_of_rest..]) {
            lanes[i] = value;
        }
    }
}

/// `rows[i][j] += lanes[j][i]`, for the rows that there are.
#[inline(always)]
pub fn add_to_rows<T: Real>(lanes: &[Lanes<T>], rows: &mut [T]) {
    let width = lanes.len();
    let (squares, rest) = lanes.as_chunks::<LANES>();
    let first_of_rest = squares.len() * LANES;
    for (tile, square) in squares.iter().enumerate() {
        let square = transposed(*square);
        for (values, row) in square.iter().zip(rows.chunks_exact_mut(width)) {
            for (out, &value) in row[tile * LANES..][..LANES].iter_mut().zip(values) {
                *out += value;
            }
        }
    }
    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
        for (value, lanes) in row[first_of_rest..].iter_mut().zip(rest) {
            *value += lanes[i];
        }
    }
}

/// Four rounds of a perfect shuffle, each a few shuffles of whole registers; value by value the
/// compiler would gather.
#[inline(always)]
fn transposed<T: Real>(square: Square<T>) -> Square<T> {
    shuffled(shuffled(shuffled(shuffled(square))))
}

#[inline(always)]
fn shuffled<T: Real>(rows: Square<T>) -> Square<T> {
    let half = LANES / 2;
    let mut out = [[T::zero(); LANES]; LANES];
    for i in 0..half {
        out[2 * i] = interleaved(rows[i], rows[i + half], 0);
        out[2 * i + 1] = interleaved(rows[i], rows[i + half], half);
    }
    out
}

/// `a[from], b[from], a[from + 1], …`
#[inline(always)]
fn interleaved<T: Real>(a: Lanes<T>, b: Lanes<T>, from: usize) -> Lanes<T> {
    let mut out = [T::zero(); LANES];
    for i in 0..LANES / 2 {
        out[2 * i] = a[from + i];
        out[2 * i + 1] = b[from + i];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_lanes_and_lanes_rows() {
        for width in [1, 5, 16, 37, 64] {
            for count in [0, 1, 7, 16] {
                let rows: Vec<f64> = (0..count * width).map(|i| i as f64 + 1.0).collect();
                let mut lanes = vec![[-1.0; LANES]; width];
                rows_to_lanes(&rows, &mut lanes);
                for (j, lanes) in lanes.iter().enumerate() {
                    for (i, &value) in lanes.iter().enumerate() {
                        let want = if i < count { rows[i * width + j] } else { 0.0 };
                        assert_eq!(value, want, "{width} {count}");
                    }
                }
                let mut twice = rows.clone();
                add_to_rows(&lanes, &mut twice);
                assert!(twice.iter().zip(&rows).all(|(a, b)| *a == 2.0 * b));
            }
        }
    }
}
