use burn::tensor::DType;
use peft_kernels::*;

use crate::common::*;

const STEP: AdamWStep = AdamWStep {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.1,
    count: 1,
    gradient_scale: 0.37,
};

/// Three steps by the definition, in `f64`: value, mean and square.
fn by_hand(start: &[f64], gradients: &[Vec<f64>], rate: f64) -> [Vec<f64>; 3] {
    let n = start.len();
    let [mut w, mut m, mut v] = [start.to_vec(), vec![0.0; n], vec![0.0; n]];
    for (i, gradient) in gradients.iter().enumerate() {
        let age = i as i32 + 1;
        for j in 0..n {
            let g = gradient[j] * STEP.gradient_scale;
            m[j] = STEP.beta1 * m[j] + (1.0 - STEP.beta1) * g;
            v[j] = STEP.beta2 * v[j] + (1.0 - STEP.beta2) * g * g;
            let mean = m[j] / (1.0 - STEP.beta1.powi(age));
            let root = (v[j] / (1.0 - STEP.beta2.powi(age))).sqrt();
            w[j] -= rate * STEP.weight_decay * w[j] + rate * mean / (root + STEP.eps);
        }
    }
    [w, m, v]
}

#[test]
fn adamw_is_its_formula_for_many_tensors() {
    for dtype in [DType::F32, DType::F64] {
        if dtype == DType::F64 && !has_f64() {
            continue;
        }
        let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
        // Empty, one number, odd, and longer than what one task takes.
        let lengths = [0, 1, 17, 20_011];
        let gradients = |i: usize, n: usize| -> Vec<Vec<f64>> {
            (0..3).map(|t| numbers(10 * i as u64 + t + 1, n)).collect()
        };
        let rate = |i: usize| 1e-2 * (i + 1) as f64;
        let zeros = |n: usize| tensor(&vec![0.0; n], dtype, &device());
        let start = |i: usize, n: usize| numbers(100 + i as u64, n);
        let mut tensors: Vec<AdamWTensor> = (lengths.iter().enumerate())
            .map(|(i, &n)| AdamWTensor {
                value: tensor(&start(i, n), dtype, &device()),
                mean: zeros(n),
                square: zeros(n),
                gradient: zeros(n),
                rate: rate(i),
            })
            .collect();
        for t in 0..3 {
            for (i, (x, &n)) in tensors.iter_mut().zip(&lengths).enumerate() {
                x.gradient = tensor(&gradients(i, n)[t], dtype, &device());
            }
            let count = t as u64 + 1;
            tensors = adamw(tensors, &AdamWStep { count, ..STEP });
        }
        for (i, (x, &n)) in tensors.into_iter().zip(&lengths).enumerate() {
            let want = by_hand(&start(i, n), &gradients(i, n), rate(i));
            let got = [x.value, x.mean, x.square].map(values);
            for (got, want) in got.iter().zip(&want) {
                assert_close(&format!("tensor {i}, {dtype:?}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn nan_stays_where_it_is() {
    let of = |v: &[f64]| tensor(v, DType::F32, &device());
    let tensor = AdamWTensor {
        value: of(&[1.0, 2.0, 3.0]),
        mean: of(&[0.0; 3]),
        square: of(&[0.0; 3]),
        gradient: of(&[0.5, f64::NAN, -1e30]),
        rate: 0.1,
    };
    let new = adamw(vec![tensor], &STEP).remove(0);
    for x in [new.value, new.mean, new.square] {
        assert_eq!(nans(x), [false, true, false]);
    }
}

#[test]
fn norms_are_their_formula() {
    let tensors = [0, 1, 15, 16, 17, 40_003].map(|n| numbers(n as u64, n));
    let want: Vec<f64> = tensors
        .iter()
        .map(|x| x.iter().map(|v| v * v).sum::<f64>().sqrt())
        .collect();
    let on_device: Vec<_> = tensors
        .iter()
        .map(|x| tensor(x, DType::F32, &device()))
        .collect();
    assert_close("norms", &norms(&on_device), &want, 1e-5);
    assert!(norms(&[]).is_empty());
}

#[test]
fn a_norm_shows_what_is_not_finite() {
    let of = |v: &[f64]| tensor(v, DType::F32, &device());
    let got = norms(&[of(&[1.0, f64::NAN]), of(&[f64::INFINITY]), of(&[3.0, 4.0])]);
    assert!(got[0].is_nan() && got[1] == f64::INFINITY && got[2] == 5.0);
}

#[test]
#[should_panic(expected = "value [3], mean [3], square [2] and gradient [3]")]
fn lengths_must_agree() {
    let of = |n: usize| tensor(&vec![0.0; n], DType::F32, &device());
    let tensor = AdamWTensor {
        value: of(3),
        mean: of(3),
        square: of(2),
        gradient: of(3),
        rate: 0.1,
    };
    let _ = adamw(vec![tensor], &STEP);
}
