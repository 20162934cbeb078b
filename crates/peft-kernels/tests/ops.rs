//! Every operation against its definition, on the device that `PEFT_TEST_DEVICE` names.

mod common;

use burn::tensor::{DType, Int, Tensor, TensorData};
use common::*;
use peft_kernels::*;

/// Runs on `f32`, compares at 1e-5, and again on `f64` at 1e-12 where the device has it.
#[track_caller]
fn matches(name: &str, op: Op<'_>, inputs: &[Vec<f64>], want: &[f64]) {
    let device = device();
    let forward = |dtype| {
        values(op(inputs
            .iter()
            .map(|v| tensor(v, dtype, &device))
            .collect()))
    };
    assert_close(name, &forward(DType::F32), want, 1e-5);
    if has_f64() {
        assert_close(name, &forward(DType::F64), want, 1e-12);
    }
}

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
fn gelu_is_its_formula() {
    let mut x = numbers(1, 1003);
    x.extend([0.0, -0.0, 5.5, -5.5, 1e4, -1e4, 1e-6, -1e-6]);
    let erf: Vec<f64> = x
        .iter()
        .map(|x| 0.5 * x * libm::erfc(-x / core::f64::consts::SQRT_2))
        .collect();
    let root = (2.0 / core::f64::consts::PI).sqrt();
    let tanh: Vec<f64> = x
        .iter()
        .map(|x| 0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh()))
        .collect();
    // Without the large values too, which would hide errors of the small ones.
    let near = |v: &[f64]| v[..1003].to_vec();
    for (kind, want) in [(GeluKind::Erf, erf), (GeluKind::Tanh, tanh)] {
        let op: Op<'_> = &move |mut x| gelu(x.remove(0), kind);
        matches("gelu, extremes", op, &[x.clone()], &want);
        matches("gelu", op, &[near(&x)], &near(&want));
    }
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

fn cases() -> Vec<Case> {
    vec![
        Case::new(&[5], 2, 2, 8, false),
        Case::new(&[1], 1, 1, 8, false),
        Case::new(&[1, 1, 1], 3, 1, 8, true),
        Case::new(&[3, 1, 7], 2, 2, 32, false),
        Case::new(&[4, 4, 4], 4, 2, 8, true),
        Case::new(&[70, 1, 66], 2, 1, 64, true),
        Case::new(&[130, 9], 2, 2, 64, false),
        Case::new(&[6, 11], 4, 2, 8, true).dropped(0.25),
        Case::new(&[67, 3], 2, 2, 32, false).dropped(0.1),
    ]
}

#[test]
fn attention_is_its_formula() {
    for case in cases() {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        let op: Op<'_> = &|x| {
            let [q, k, v] = case.shaped(x);
            attention(q, k, v, &case.layout(&device()), &case.options()).flatten(0, 1)
        };
        matches(&format!("{case:?}"), op, &inputs, &want);
    }
}

#[test]
fn attention_survives_extreme_scores() {
    let case = Case::new(&[9, 4], 2, 1, 8, true);
    let mut inputs = case.inputs();
    // Scores of about ±1e4: softmax becomes a choice.
    inputs[0].iter_mut().for_each(|v| *v = (*v * 100.0).round());
    inputs[1].iter_mut().for_each(|v| *v = (*v * 100.0).round());
    let want = case.reference(&inputs);
    let op: Op<'_> = &|x| {
        let [q, k, v] = case.shaped(x);
        attention(q, k, v, &case.layout(&device()), &case.options()).flatten(0, 1)
    };
    let got = values(op(inputs
        .iter()
        .map(|v| tensor(v, DType::F32, &device()))
        .collect()));
    // One unit in the last place of a score of 1e4 is 1e-3.
    assert_close("extreme scores", &got, &want, 5e-3);
}

#[test]
fn nan_stays_and_stays_within_its_sequence() {
    let case = Case::new(&[3, 5], 2, 2, 8, false);
    let mut inputs = case.inputs();
    inputs[1][0] = f64::NAN; // key of the first row, first head
    let device = device();
    let [q, k, v] = case.shaped(
        inputs
            .iter()
            .map(|v| tensor(v, DType::F32, &device))
            .collect(),
    );
    let out = values(attention(q, k, v, &case.layout(&device), &case.options()));
    for (i, y) in out.iter().enumerate() {
        let (row, head) = (i / 16, i % 16 / 8);
        assert_eq!(y.is_nan(), row < 3 && head == 0, "row {row}, head {head}");
    }

    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    for kind in [GeluKind::Erf, GeluKind::Tanh] {
        let y = values(gelu(x.clone(), kind));
        assert_eq!(
            y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(),
            [false, true, false, false]
        );
    }
    let ones = Tensor::<1>::ones([2], &device);
    let y = values(layer_norm(
        x.clone().reshape([2, 2]),
        ones.clone(),
        ones,
        1e-5,
    ));
    assert_eq!(
        y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(),
        [true, true, false, false]
    );
    let y = values(dropout(
        x.clone(),
        Dropout {
            probability: 0.5,
            key: 3,
        },
    ));
    assert!(y[1].is_nan());
    let y = values(linear(
        x.clone().reshape([2, 2]),
        Tensor::<2>::ones([2, 1], &device),
        None,
    ));
    assert_eq!(
        y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(),
        [true, false]
    );
    let targets = Tensor::<1, Int>::from_ints([0, 1], &device);
    assert!(values(cross_entropy(x.reshape([2, 2]), targets))[0].is_nan());
}

#[test]
fn dropout_keeps_what_the_rule_keeps() {
    let x = numbers(5, 1001);
    for probability in [0.0, 0.1, 0.5, 0.9, 1.0] {
        let rule = Dropout {
            probability,
            key: 42,
        };
        let factor = |i| {
            if keep(42, i, probability) {
                rule.scale()
            } else {
                0.0
            }
        };
        let want: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, x)| x * factor(i as u64))
            .collect();
        let op: Op<'_> = &move |mut x| dropout(x.remove(0).reshape([7, 143]), rule).flatten(0, 1);
        matches("dropout", op, std::slice::from_ref(&x), &want);
    }
}

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
fn first_rows_select_the_first_of_each_sequence() {
    let layout = RowLayout::new(vec![0, 3, 4, 9], &device());
    assert_eq!((layout.len(), layout.rows(), layout.max_len()), (3, 9, 5));
    assert_eq!(
        layout
            .first_rows()
            .into_data()
            .iter::<i64>()
            .collect::<Vec<_>>(),
        [0, 3, 4]
    );
}

#[test]
fn half_types_work() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype)
            || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
        {
            continue;
        }
        let tolerance = if dtype == DType::F16 { 4e-3 } else { 3e-2 };
        let case = Case::new(&[3, 6], 2, 1, 8, true);
        let inputs = case.inputs();
        let half: Vec<_> = inputs.iter().map(|v| tensor(v, dtype, &device)).collect();
        // The reference reads what the type holds.
        let held: Vec<Vec<f64>> = half.iter().map(|t| values(t.clone())).collect();
        let [q, k, v] = case.shaped(half);
        let out = attention(q, k, v, &case.layout(&device), &case.options());
        assert_eq!(out.dtype(), dtype);
        assert_close("attention", &values(out), &case.reference(&held), tolerance);
        let x = tensor(&numbers(4, 24), dtype, &device);
        let y = layer_norm(
            gelu(x, GeluKind::Erf).reshape([4, 6]),
            tensor(&[1.0; 6], dtype, &device),
            tensor(&[0.0; 6], dtype, &device),
            1e-5,
        );
        assert!(y.dtype() == dtype && values(y).iter().all(|v| v.is_finite()));
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
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for kind in [GeluKind::Erf, GeluKind::Tanh] {
        check_gradients(
            "gelu",
            &move |mut x| gelu(x.remove(0), kind),
            &[numbers(1, 37)],
        );
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
    check_gradients(
        "dropout",
        &|mut x| {
            dropout(
                x.remove(0),
                Dropout {
                    probability: 0.3,
                    key: 5,
                },
            )
        },
        &[numbers(1, 50)],
    );
    check_gradients(
        "cross_entropy",
        &|mut t| {
            let targets = Tensor::<1, Int>::from_ints([2, 0, 6, 3], &device());
            cross_entropy(t.remove(0).reshape([4, 7]), targets)
        },
        &[numbers(1, 28)],
    );
}

#[test]
fn attention_gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for case in [
        Case::new(&[5], 2, 2, 8, false),
        Case::new(&[1, 1], 2, 1, 8, true),
        Case::new(&[3, 1, 4], 4, 2, 8, true),
        Case::new(&[2, 3], 1, 1, 32, false),
        Case::new(&[2, 1], 1, 1, 64, true),
        Case::new(&[3, 4], 2, 1, 8, true).dropped(0.3),
        Case::new(&[5, 2], 2, 2, 8, false).dropped(0.3),
    ] {
        let op: Op<'_> = &|x| {
            let [q, k, v] = case.shaped(x);
            attention(q, k, v, &case.layout(&device()), &case.options()).flatten(0, 1)
        };
        check_gradients(&format!("{case:?}"), op, &case.inputs());
    }
}

#[test]
fn an_index_tensor_without_autodiff_mixes_with_tracked_inputs() {
    let tracked = device().autodiff();
    let layout = RowLayout::new(vec![0, 2, 5], &tracked);
    let x = tensor(&numbers(1, 10), DType::F32, &tracked).require_grad();
    let first = x.clone().reshape([5, 2]).select(0, layout.first_rows());
    let grads = first.sum().backward();
    let want = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(values(x.grad(&grads).unwrap()), want);
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

#[test]
#[should_panic(expected = "kv_heads 2 must divide heads 3")]
fn attention_rejects_heads() {
    let device = device();
    let x = Tensor::<2>::from_data(TensorData::zeros::<f32, _>([2, 6]), &device);
    let rows = RowLayout::new(vec![0, 2], &device);
    let opts = AttentionOptions {
        heads: 3,
        kv_heads: 2,
        scale: 1.0,
        causal: false,
        dropout: None,
    };
    attention(x.clone(), x.clone(), x, &rows, &opts);
}
