use burn::tensor::DType;
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const ALL: [Activation; 3] = [
    Activation::Gelu(GeluKind::Erf),
    Activation::Gelu(GeluKind::Tanh),
    Activation::Silu,
];

/// The definition of an activation.
fn by_hand(kind: Activation, x: f64) -> f64 {
    let root = (2.0 / core::f64::consts::PI).sqrt();
    match kind {
        Activation::Gelu(GeluKind::Erf) => 0.5 * x * libm::erfc(-x / core::f64::consts::SQRT_2),
        Activation::Gelu(GeluKind::Tanh) => {
            0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

#[test]
fn gelu_and_silu_are_their_formula() {
    let mut x = numbers(1, 1003);
    x.extend([0.0, -0.0, 5.5, -5.5, 1e4, -1e4, 1e-6, -1e-6]);
    // Without the large values too, which would hide errors of the small ones.
    let near = |v: &[f64]| v[..1003].to_vec();
    for kind in ALL {
        let want: Vec<f64> = x.iter().map(|&x| by_hand(kind, x)).collect();
        let op: Op<'_> = &move |mut x| match kind {
            Activation::Gelu(kind) => gelu(x.remove(0), kind),
            Activation::Silu => silu(x.remove(0)),
        };
        matches("activation, extremes", op, &[x.clone()], &want);
        matches("activation", op, &[near(&x)], &near(&want));
    }
}

#[test]
fn fused_forms_are_their_formula() {
    for (rows, d) in [(1, 1), (3, 17), (129, 64)] {
        let [x, up, bias] = [(1, rows * d), (2, rows * d), (3, d)].map(|(k, n)| numbers(k, n));
        for kind in ALL {
            let op: Op<'_> = &move |mut t| {
                let bias = t.remove(1);
                bias_activation(t.remove(0).reshape([rows, d]), bias, kind).flatten(0, 1)
            };
            let of_sum = |(i, x): (usize, &f64)| by_hand(kind, x + bias[i % d]);
            let want: Vec<f64> = x.iter().enumerate().map(of_sum).collect();
            matches("bias_activation", op, &[x.clone(), bias.clone()], &want);

            let op: Op<'_> = &move |mut t| {
                let up = t.remove(1).reshape([rows, 1, d]);
                gated(t.remove(0).reshape([rows, 1, d]), up, kind).flatten(0, 2)
            };
            let times = |(x, up): (&f64, &f64)| by_hand(kind, *x) * up;
            let want: Vec<f64> = x.iter().zip(&up).map(times).collect();
            matches("gated", op, &[x.clone(), up.clone()], &want);
        }
    }
}

#[test]
fn nan_stays() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    let ones = tensor(&[1.0; 4], DType::F32, &device);
    let here = [false, true, false, false];
    for kind in ALL {
        assert_eq!(nans(gated(x.clone(), ones.clone(), kind)), here);
        assert_eq!(nans(gated(ones.clone(), x.clone(), kind)), here);
        let rows = x.clone().reshape([1, 4]);
        assert_eq!(nans(bias_activation(rows, ones.clone(), kind)), here);
        let rows = ones.clone().reshape([1, 4]);
        assert_eq!(nans(bias_activation(rows, x.clone(), kind)), here);
    }
    assert_eq!(nans(gelu(x.clone(), GeluKind::Erf)), here);
    assert_eq!(nans(gelu(x.clone(), GeluKind::Tanh)), here);
    assert_eq!(nans(silu(x)), here);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    check_gradients("silu", &|mut x| silu(x.remove(0)), &[numbers(1, 37)]);
    for kind in ALL {
        if let Activation::Gelu(kind) = kind {
            let op: Op<'_> = &move |mut x| gelu(x.remove(0), kind);
            check_gradients("gelu", op, &[numbers(1, 37)]);
        }
        let op: Op<'_> = &move |mut x| gated(x.remove(0), x.remove(0), kind);
        check_gradients("gated", op, &[numbers(1, 37), numbers(2, 37)]);
        let op: Op<'_> = &move |mut t| {
            let bias = t.remove(1);
            bias_activation(t.remove(0).reshape([9, 5]), bias, kind).flatten(0, 1)
        };
        check_gradients("bias_activation", op, &[numbers(1, 45), numbers(2, 5)]);
    }
}

#[test]
#[should_panic(expected = "bias must be [3] for rows of 3")]
fn the_bias_must_fit() {
    let x = tensor(&[0.0; 6], DType::F32, &device()).reshape([2, 3]);
    bias_activation(
        x,
        tensor(&[0.0; 2], DType::F32, &device()),
        Activation::Silu,
    );
}
