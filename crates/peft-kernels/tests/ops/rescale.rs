use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

/// `x`, centre and factor, flat.
fn rescaled(d: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let (factor, center) = (t.remove(2), t.remove(1));
        let x = t.remove(0);
        let rows = x.dims()[0] / d;
        rescale(x.reshape([rows, d]), Some(center), factor).flatten(0, 1)
    }
}

#[test]
fn columns_are_stretched_about_their_centre() {
    for (rows, d) in [(1, 1), (1, 7), (5, 1), (70, 9), (130, 33)] {
        let (x, c, f) = (numbers(1, rows * d), numbers(2, d), numbers(3, d));
        let stretched = |center: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let place = |(i, x): (usize, &f64)| {
                let c = center(i % d);
                c + f[i % d] * (x - c)
            };
            x.iter().enumerate().map(place).collect()
        };
        let inputs = [x.clone(), c.clone(), f.clone()];
        matches("rescale", &rescaled(d), &inputs, &stretched(&|j| c[j]));
        let plain: Op<'_> = &move |mut t| {
            let factor = t.remove(1);
            rescale(t.remove(0).reshape([rows, d]), None, factor).flatten(0, 1)
        };
        let inputs = [x.clone(), f.clone()];
        matches("rescale about 0", plain, &inputs, &stretched(&|_| 0.0));
    }
}

#[test]
fn a_factor_of_one_changes_no_bit() {
    let device = device();
    let x = tensor(&numbers(1, 60), DType::F32, &device).reshape([5, 12]);
    let center = tensor(&numbers(2, 12), DType::F32, &device);
    let factor = Tensor::<1>::ones([12], (&device, DType::F32));
    let y = rescale(x.clone(), Some(center), factor);
    assert_eq!(values(y), values(x));
}

#[test]
fn gradients_match_finite_differences() {
    if !has_f64() {
        return;
    }
    let (x, c) = (numbers(1, 24), numbers(2, 4));
    // All large: the output is kept. One small, one zero, one negative: the input is.
    for f in [vec![0.9, 1.5, -0.7, 1.0], vec![0.9, 0.01, 0.0, -2.0]] {
        let inputs = [x.clone(), c.clone(), f];
        check_gradients("rescale", &rescaled(4), &inputs);
    }
}

#[test]
fn column_norms_are_sums_of_squares_in_any_layout_and_type() {
    let device = device();
    for (rows, columns) in [(1, 1), (1, 5), (7, 1), (16, 16), (37, 50), (300, 17)] {
        let w = numbers(1, rows * columns);
        let square = |j: usize, round: &dyn Fn(f64) -> f64| -> f64 {
            (0..rows).map(|i| round(w[i * columns + j]).powi(2)).sum()
        };
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            let half = matches!(dtype, DType::BF16 | DType::F16);
            let skip = match dtype {
                DType::F64 => !has_f64(),
                _ => !device.supports_dtype(dtype) || (half && !cfg!(feature = "flex")),
            };
            if skip {
                continue;
            }
            let weight = tensor(&w, dtype, &device).reshape([rows, columns]);
            let exact = values(weight.clone().cast(DType::F32));
            let want: Vec<f64> = (0..columns)
                .map(|j| match half {
                    true => (0..rows).map(|i| exact[i * columns + j].powi(2)).sum(),
                    false => square(j, &|v| v),
                })
                .collect();
            let got = squared_column_norms(&weight);
            let wide = if dtype == DType::F64 {
                DType::F64
            } else {
                DType::F32
            };
            assert_eq!(got.dtype(), wide);
            let tolerance = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
            assert_close("columns", &values(got), &want, tolerance);
        }
    }
}
