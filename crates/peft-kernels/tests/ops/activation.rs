use burn::tensor::DType;
use peft_kernels::*;

use crate::common::*;
use crate::matches;

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
fn nan_stays() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    for kind in [GeluKind::Erf, GeluKind::Tanh] {
        assert_eq!(nans(gelu(x.clone(), kind)), [false, true, false, false]);
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
}
