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

/// A language head: rows, width, classes, the bound of the logits, their factor.
type Head = (usize, usize, usize, Option<f64>, f64);

const HEADS: [Head; 5] = [
    (1, 1, 2, None, 1.0),
    (5, 3, 7, None, 0.25),
    (9, 4, 5, Some(1.5), 1.0),
    (33, 8, 130, Some(30.0), 2.0),
    // More rows than logits fit at a time on most backends.
    (10, 2, 1_000_003, None, 1.0),
];

fn head_inputs((rows, d, classes, ..): Head) -> [Vec<f64>; 2] {
    [numbers(1, rows * d), numbers(2, d * classes)]
}

/// The weight lies as checkpoints have it, `[classes, d]`.
fn head((rows, d, classes, cap, scale): Head) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let weight = t.remove(1).reshape([classes, d]).transpose();
        let targets: Vec<i32> = (0..rows).map(|i| (i * 5 % classes) as i32).collect();
        let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &device());
        head_cross_entropy(t.remove(0).reshape([rows, d]), weight, targets, cap, scale)
    }
}

#[test]
fn the_loss_of_a_head_is_that_of_its_logits() {
    for form in HEADS {
        let (rows, d, classes, cap, scale) = form;
        let [x, w] = head_inputs(form);
        let row = |row: usize| -> f64 {
            let logit = |class: usize| {
                let product = |i: usize| x[row * d + i] * w[class * d + i];
                let s = (0..d).map(product).sum::<f64>() * scale;
                cap.map_or(s, |c| c * (s / c).tanh())
            };
            let logits: Vec<f64> = (0..classes).map(logit).collect();
            let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|v| (v - top).exp()).sum();
            top + total.ln() - logits[row * 5 % classes]
        };
        let want = (0..rows).map(row).sum::<f64>() / rows as f64;
        matches(&format!("{form:?}"), &head(form), &[x, w], &[want]);
    }
}

#[test]
fn the_gradients_of_a_head_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for form in HEADS.into_iter().filter(|form| form.2 < 100) {
        check_gradients(&format!("{form:?}"), &head(form), &head_inputs(form));
    }
}

#[test]
fn the_gradients_of_a_head_are_those_of_its_logits() {
    let form = HEADS[3];
    let (rows, d, classes, cap, scale) = form;
    let plain: Op<'_> = &|mut t| {
        let weight = t.remove(1).reshape([classes, d]).transpose();
        let logits = t.remove(0).reshape([rows, d]).matmul(weight) * scale;
        let cap = cap.expect("bounded");
        // Not a division: Burn's gradient of it rounds the divisor to single precision.
        let logits = (logits * cap.recip()).tanh() * cap;
        let targets: Vec<i32> = (0..rows).map(|i| (i * 5 % classes) as i32).collect();
        let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &device());
        portable::cross_entropy(logits, targets)
    };
    let mut types = vec![(DType::F32, 1e-5)];
    if has_f64() {
        types.push((DType::F64, 1e-10));
    }
    for (dtype, tolerance) in types {
        let (_, got) = run(&head(form), &head_inputs(form), dtype);
        let (_, want) = run(plain, &head_inputs(form), dtype);
        for (got, want) in got.iter().zip(&want) {
            assert_close("gradient", got, want, tolerance);
        }
    }
}

#[test]
fn a_frozen_half_head_is_read_as_it_is() {
    let device = device();
    let dtype = DType::BF16;
    if !device.supports_dtype(dtype)
        || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
    {
        return;
    }
    let form = HEADS[3];
    let tracked = device.clone().autodiff();
    let [x, w] = head_inputs(form);
    let w = tensor(&w, dtype, &device);
    let loss = |w: Tensor<1>| {
        let x = tensor(&x, DType::F32, &tracked).require_grad();
        let loss = head(form)(vec![x.clone(), w]);
        let grads = loss.clone().backward();
        (values(loss), values(x.grad(&grads).unwrap()))
    };
    let (half, wide) = (loss(w.clone()), loss(w.cast(DType::F32)));
    assert_close("loss", &half.0, &wide.0, 1e-6);
    assert_close("gradient", &half.1, &wide.1, 1e-6);
}
