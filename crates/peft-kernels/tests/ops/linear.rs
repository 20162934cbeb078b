use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

#[test]
fn linear_is_a_product_also_with_a_transposed_weight() {
    for (rows, inner, out) in [(1, 1, 1), (1, 5, 3), (7, 1, 9), (33, 17, 65), (64, 130, 70)] {
        let (x, w, b) = (
            numbers(1, rows * inner),
            numbers(2, inner * out),
            numbers(3, out),
        );
        let at = |i: usize, j: usize| -> f64 {
            (0..inner)
                .map(|k| x[i * inner + k] * w[k * out + j])
                .sum::<f64>()
        };
        let want: Vec<f64> = (0..rows)
            .flat_map(|i| (0..out).map(move |j| (i, j)))
            .map(|(i, j)| at(i, j))
            .collect();
        let biased: Vec<f64> = want
            .iter()
            .enumerate()
            .map(|(i, y)| y + b[i % out])
            .collect();
        let stored: Vec<f64> = (0..out)
            .flat_map(|j| (0..inner).map(move |k| (k, j)))
            .map(|(k, j)| w[k * out + j])
            .collect();

        let plain: Op<'_> = &move |mut t| {
            let w = t.remove(1).reshape([inner, out]);
            linear(t.remove(0).reshape([rows, inner]), w, None).flatten(0, 1)
        };
        matches("linear", plain, &[x.clone(), w.clone()], &want);
        let view: Op<'_> = &move |mut t| {
            let (b, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            linear(t.remove(0).reshape([rows, inner]), w, Some(b)).flatten(0, 1)
        };
        matches("linear, transposed", view, &[x, stored, b], &biased);
    }
}

#[test]
fn a_frozen_weight_may_be_of_half_precision() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype)
            || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
        {
            continue;
        }
        let x = tensor(&numbers(1, 21), DType::F32, &device).reshape([3, 7]);
        let weight = tensor(&numbers(2, 35), dtype, &device).reshape([5, 7]);
        let wide = weight.clone().cast(DType::F32);
        let bias = tensor(&numbers(3, 5), DType::F32, &device);
        let got = linear(x.clone(), weight.transpose(), Some(bias.clone()));
        assert_eq!(got.dtype(), DType::F32);
        let want = linear(x, wide.transpose(), Some(bias));
        assert_close("half weight", &values(got), &values(want), 1e-6);
    }
}

#[test]
fn nan_stays_in_its_row() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    let y = linear(x.reshape([2, 2]), Tensor::ones([2, 1], &device), None);
    assert_eq!(nans(y), [true, false]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    let (rows, inner, out) = (3, 5, 7);
    check_gradients(
        "linear",
        &move |mut t| {
            let (b, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            linear(t.remove(0).reshape([rows, inner]), w, Some(b)).flatten(0, 1)
        },
        &[
            numbers(1, rows * inner),
            numbers(2, inner * out),
            numbers(3, out),
        ],
    );
    let rank = 2;
    let low_rank = [
        (1, rows * inner),
        (2, inner * out),
        (3, out),
        (4, inner * rank),
        (5, rank * out),
    ]
    .map(|(key, n)| numbers(key, n));
    check_gradients(
        "linear_low_rank",
        &move |mut t| {
            let b = t.remove(4).reshape([rank, out]);
            let a = t.remove(3).reshape([inner, rank]);
            let (bias, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            let x = t.remove(0).reshape([rows, inner]);
            linear_low_rank(x, w, Some(bias), a, b, 0.7).flatten(0, 1)
        },
        &low_rank,
    );
    let (q, p) = (3, 2);
    let core = [
        (1, rows * inner),
        (2, inner * out),
        (3, out),
        (4, inner * q),
        (5, q * p),
        (6, p * out),
    ]
    .map(|(key, n)| numbers(key, n));
    check_gradients(
        "linear_core",
        &move |mut t| {
            let b = t.remove(5).reshape([p, out]);
            let core = t.remove(4).reshape([q, p]);
            let a = t.remove(3).reshape([q, inner]).transpose();
            let (bias, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            let x = t.remove(0).reshape([rows, inner]);
            linear_core(x, w, Some(bias), a, core, b).flatten(0, 1)
        },
        &core,
    );
    check_gradients(
        "linear_plus",
        &move |mut t| {
            let b = t.remove(3).reshape([rank, out]);
            let low = t.remove(2).reshape([rows, rank]);
            let w = t.remove(1).reshape([inner, out]);
            let x = t.remove(0).reshape([rows, inner]);
            linear_plus(x, w, None, low, b).flatten(0, 1)
        },
        &[
            low_rank[0].clone(),
            low_rank[1].clone(),
            numbers(6, rows * rank),
            low_rank[4].clone(),
        ],
    );
    check_gradients(
        "linear without bias",
        &move |mut t| {
            let w = t.remove(1).reshape([inner, out]);
            linear(t.remove(0).reshape([rows, inner]), w, None).flatten(0, 1)
        },
        &[numbers(1, rows * inner), numbers(2, inner * out)],
    );
}

#[test]
#[should_panic(expected = "linear: x [2, 3] does not fit a weight [4, 5]")]
fn linear_rejects_shapes() {
    let device = device();
    linear(
        Tensor::zeros([2, 3], &device),
        Tensor::zeros([4, 5], &device),
        None,
    );
}
