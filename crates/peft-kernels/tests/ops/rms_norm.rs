use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

fn by_hand(x: &[f64], gamma: &[f64], eps: f64) -> Vec<f64> {
    let d = gamma.len();
    let row = |x: &[f64]| -> Vec<f64> {
        let square = x.iter().map(|v| v * v).sum::<f64>() / d as f64;
        let r = 1.0 / (square + eps).sqrt();
        x.iter().zip(gamma).map(|(v, g)| v * r * g).collect()
    };
    x.chunks(d).flat_map(row).collect()
}

/// Both results of the fused form, one behind the other.
fn of_sum(rows: usize, d: usize, eps: f64) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let gamma = t.remove(2);
        let [x, r] = [t.remove(0), t.remove(0)].map(|x| x.reshape([rows, d]));
        let (y, sum) = add_rms_norm(x, r, gamma, eps);
        Tensor::cat(vec![y, sum], 0).flatten(0, 1)
    }
}

fn plain(rows: usize, d: usize, eps: f64) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let gamma = t.remove(1);
        rms_norm(t.remove(0).reshape([rows, 1, d]), gamma, eps).flatten(0, 2)
    }
}

#[test]
fn rms_norms_are_their_formula() {
    for (rows, d) in [(1, 1), (1, 7), (5, 33), (129, 64), (3, 768)] {
        let [x, r, gamma] = [(1, rows * d), (2, rows * d), (3, d)].map(|(k, n)| numbers(k, n));
        let want = by_hand(&x, &gamma, 1e-5);
        let inputs = [x.clone(), gamma.clone()];
        matches("rms_norm", &plain(rows, d, 1e-5), &inputs, &want);
        let sum: Vec<f64> = x.iter().zip(&r).map(|(a, b)| a + b).collect();
        let want = [by_hand(&sum, &gamma, 1e-6), sum].concat();
        matches(
            "add_rms_norm",
            &of_sum(rows, d, 1e-6),
            &[x, r, gamma],
            &want,
        );
    }
}

#[test]
fn tiny_and_huge_rows_keep_their_direction() {
    let (small, large) = (1e-12, 1e15);
    let row = numbers(1, 40);
    let gamma = vec![1.0; 40];
    for factor in [small, large] {
        let x: Vec<f64> = row.iter().map(|v| v * factor).collect();
        let want = by_hand(&x, &gamma, 1e-30);
        let inputs = [x, gamma.clone()];
        matches("rms_norm", &plain(1, 40, 1e-30), &inputs, &want);
    }
}

#[test]
fn nan_stays_in_its_row() {
    let x = [1.0, f64::NAN, 3.0, 4.0];
    let x = tensor(&x, DType::F32, &device()).reshape([2, 2]);
    let ones = tensor(&[1.0; 2], DType::F32, &device());
    let here = [true, true, false, false];
    assert_eq!(nans(rms_norm(x.clone(), ones.clone(), 1e-5)), here);
    let (y, sum) = add_rms_norm(x.clone(), x, ones, 1e-5);
    assert_eq!(nans(y), here);
    assert_eq!(nans(sum), [false, true, false, false]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for (rows, d) in [(1, 1), (1, 5), (4, 19), (67, 3)] {
        let inputs = [(1, rows * d), (2, rows * d), (3, d)].map(|(k, n)| numbers(k, n));
        check_gradients("add_rms_norm", &of_sum(rows, d, 1e-2), &inputs);
        let inputs = [inputs[0].clone(), inputs[2].clone()];
        check_gradients("rms_norm", &plain(rows, d, 1e-2), &inputs);
    }
}
