use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

fn normalised(x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let d = gamma.len();
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / d as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
        (0..d)
            .map(|i| (x[i] - mean) / (var + eps).sqrt() * gamma[i] + beta[i])
            .collect()
    };
    x.chunks(d).flat_map(row).collect()
}

#[test]
fn layer_norms_are_their_formula() {
    for (rows, d) in [(1, 1), (1, 7), (5, 33), (129, 64), (3, 768)] {
        let [x, r, gamma, beta] =
            [(1, rows * d), (2, rows * d), (3, d), (4, d)].map(|(k, n)| numbers(k, n));
        let want = normalised(&x, &gamma, &beta, 1e-5);
        let op: Op<'_> = &move |mut t| {
            let (beta, gamma) = (t.remove(2), t.remove(1));
            layer_norm(t.remove(0).reshape([rows, 1, d]), gamma, beta, 1e-5).flatten(0, 2)
        };
        // A row of one element is all rounding: (x − x) is 0.
        matches(
            "layer_norm",
            op,
            &[x.clone(), gamma.clone(), beta.clone()],
            &want,
        );
        let sum: Vec<f64> = x.iter().zip(&r).map(|(a, b)| a + b).collect();
        let want = normalised(&sum, &gamma, &beta, 1e-12);
        if d > 1 {
            let op: Op<'_> = &move |mut t| {
                let (beta, gamma, r) = (t.remove(3), t.remove(2), t.remove(1));
                let [x, r] = [t.remove(0), r].map(|x| x.reshape([rows, d]));
                add_layer_norm(x, r, gamma, beta, 1e-12).flatten(0, 1)
            };
            matches("add_layer_norm", op, &[x, r, gamma, beta], &want);
        }
    }
}

#[test]
fn nan_stays_in_its_row() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    let ones = Tensor::<1>::ones([2], &device);
    let y = layer_norm(x.reshape([2, 2]), ones.clone(), ones, 1e-5);
    assert_eq!(nans(y), [true, true, false, false]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for (rows, d) in [(1, 5), (4, 19), (67, 3)] {
        let inputs = [(1, rows * d), (2, rows * d), (3, d), (4, d)].map(|(k, n)| numbers(k, n));
        check_gradients(
            "add_layer_norm",
            &move |mut t| {
                let (beta, gamma, r) = (t.remove(3), t.remove(2), t.remove(1));
                let [x, r] = [t.remove(0), r].map(|x| x.reshape([rows, d]));
                add_layer_norm(x, r, gamma, beta, 1e-5).flatten(0, 1)
            },
            &inputs,
        );
        check_gradients(
            "layer_norm",
            &move |mut t| {
                let (beta, gamma) = (t.remove(2), t.remove(1));
                layer_norm(t.remove(0).reshape([rows, d]), gamma, beta, 1e-5).flatten(0, 1)
            },
            &[inputs[0].clone(), inputs[2].clone(), inputs[3].clone()],
        );
    }
}
