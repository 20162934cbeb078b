//! Rows of activations, feature by feature.

use super::Scalar;

/// Activation rows of a tile.
pub const LANES: usize = 32;

/// One feature of [`LANES`] rows.
pub type Lanes<T> = [T; LANES];

/// Some features of up to [`LANES`] rows of `width`; rows that `rows` lacks are zero.
pub fn pack<T: Scalar>(rows: &[T], width: usize, features: &[u32], out: &mut [Lanes<T>]) {
    let held = rows.len() / width;
    for (out, &feature) in out.iter_mut().zip(features) {
        let column = rows[feature as usize..].iter().step_by(width);
        for (out, &value) in out.iter_mut().zip(column) {
            *out = value;
        }
        out[held..].fill(T::default());
    }
}

/// Adds some features to rows of `width`.
pub fn add<T: Scalar>(lanes: &[Lanes<T>], features: &[u32], width: usize, rows: &mut [T]) {
    // A few features at a time: their lanes stay in cache while every row takes its own.
    const FEW: usize = 16;
    for (lanes, features) in lanes.chunks(FEW).zip(features.chunks(FEW)) {
        for (lane, row) in rows.chunks_mut(width).enumerate() {
            for (values, &feature) in lanes.iter().zip(features) {
                row[feature as usize] += values[lane];
            }
        }
    }
}
