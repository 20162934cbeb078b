//! Rows of activations, feature by feature.

use super::Scalar;

/// Activation rows of a tile.
pub const LANES: usize = 32;

/// One feature of [`LANES`] rows.
pub type Lanes<T> = [T; LANES];

/// Features that are turned at a time: those of one row lie in few cache lines, where one feature of all
/// rows would lie in as many as there are rows, mostly of the same set.
const FEW: usize = 16;

/// Some features of up to [`LANES`] rows of `width`; rows that `rows` lacks are zero.
pub fn pack<T: Scalar>(rows: &[T], width: usize, features: &[u32], out: &mut [Lanes<T>]) {
    let held = rows.len() / width;
    for (out, features) in out.chunks_mut(FEW).zip(features.chunks(FEW)) {
        for (lane, row) in rows.chunks(width).enumerate() {
            for (out, &feature) in out.iter_mut().zip(features) {
                out[lane] = row[feature as usize];
            }
        }
        for out in out {
            out[held..].fill(T::default());
        }
    }
}

/// Adds some features to rows of `width`.
pub fn add<T: Scalar>(lanes: &[Lanes<T>], features: &[u32], width: usize, rows: &mut [T]) {
    for (lanes, features) in lanes.chunks(FEW).zip(features.chunks(FEW)) {
        for (lane, row) in rows.chunks_mut(width).enumerate() {
            for (values, &feature) in lanes.iter().zip(features) {
                row[feature as usize] += values[lane];
            }
        }
    }
}
