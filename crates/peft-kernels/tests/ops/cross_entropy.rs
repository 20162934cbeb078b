use burn::tensor::{DType, Int, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

#[test]
fn cross_entropy_is_its_formula_for_logits_of_any_size() {
    for (rows, classes, scale) in [(1, 2, 1.0), (5, 7, 1.0), (33, 130, 3.0), (4, 3, 1e4)] {
        let x: Vec<f64> = numbers(8, rows * classes)
            .iter()
            .map(|v| v * scale)
            .collect();
        let targets: Vec<i32> = (0..rows).map(|i| (i * 5 % classes) as i32).collect();
        let row = |(i, x): (usize, &[f64])| {
            let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            top + x.iter().map(|v| (v - top).exp()).sum::<f64>().ln() - x[targets[i] as usize]
        };
        let want = x.chunks(classes).enumerate().map(row).sum::<f64>() / rows as f64;
        let targets = targets.clone();
        let op: Op<'_> = &move |mut t| {
            let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &device());
            cross_entropy(t.remove(0).reshape([rows, classes]), targets)
        };
        matches("cross_entropy", op, &[x], &[want]);
    }
}

#[test]
fn nan_shows() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    let targets = Tensor::<1, Int>::from_ints([0, 1], &device);
    assert!(nans(cross_entropy(x.reshape([2, 2]), targets))[0]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    check_gradients(
        "cross_entropy",
        &|mut t| {
            let targets = Tensor::<1, Int>::from_ints([2, 0, 6, 3], &device());
            cross_entropy(t.remove(0).reshape([4, 7]), targets)
        },
        &[numbers(1, 28)],
    );
}
