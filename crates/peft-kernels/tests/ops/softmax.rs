use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

fn by_hand(x: &[f64], d: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = x.iter().map(|v| (v - top).exp()).sum();
        x.iter().map(|v| (v - top).exp() / total).collect()
    };
    x.chunks(d).flat_map(row).collect()
}

fn rows_of(rows: usize, d: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| softmax(t.remove(0).reshape([rows, 1, d])).flatten(0, 2)
}

#[test]
fn softmax_is_its_formula_for_numbers_of_any_size() {
    for (rows, d, scale) in [(1, 1, 1.0), (1, 7, 1.0), (33, 130, 3.0), (5, 17, 1e4)] {
        // Whole numbers, so that rounding of the input does not count.
        let number = |v: &f64| (v * scale * 4.0).round() / 4.0;
        let x: Vec<f64> = numbers(8, rows * d).iter().map(number).collect();
        let want = by_hand(&x, d);
        matches("softmax", &rows_of(rows, d), &[x], &want);
    }
}

#[test]
fn nan_stays_in_its_row() {
    let low = f64::NEG_INFINITY;
    let x = [1.0, f64::NAN, 3.0, low, low, low];
    let x = tensor(&x, DType::F32, &device()).reshape([3, 2]);
    // A row of nothing but minus infinity has no softmax.
    assert_eq!(
        nans(softmax(x.clone())),
        [true, true, false, false, true, true]
    );
    assert_eq!(values(softmax(x))[2..4], [1.0, 0.0]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for (rows, d) in [(1, 1), (4, 19), (3, 33)] {
        check_gradients("softmax", &rows_of(rows, d), &[numbers(1, rows * d)]);
    }
}
