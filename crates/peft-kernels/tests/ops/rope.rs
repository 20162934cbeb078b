use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

/// Frequencies of every pair, by their definition without scaling.
fn spec(channels: usize) -> RopeSpec {
    RopeSpec {
        channels,
        theta: 100.0,
        scaling: RopeScaling::Default,
    }
}

fn positions(rows: usize) -> Vec<usize> {
    (0..rows).map(|i| i * 3 % 11).collect()
}

fn op(heads: usize, d: usize, r: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let x = t.remove(0);
        let rows = x.dims()[0] / (heads * d);
        let frequencies = spec(r).frequencies(rows).unwrap();
        // In the type of `x`, that `f64` may be compared at its own precision.
        let tables = frequencies.tables(&positions(rows), &device(), x.dtype());
        let x = x.reshape([rows, heads * d]);
        rope(x, tables.cos, tables.sin, heads).flatten(0, 1)
    }
}

fn by_hand(x: &[f64], heads: usize, d: usize, r: usize) -> Vec<f64> {
    let rows = x.len() / (heads * d);
    let at = positions(rows);
    let mut y = x.to_vec();
    for (row, at) in at.into_iter().enumerate() {
        for head in 0..heads {
            let x = &x[(row * heads + head) * d..][..d];
            let y = &mut y[(row * heads + head) * d..][..d];
            for i in 0..r / 2 {
                let angle = at as f64 * 100.0_f64.powf(-2.0 * i as f64 / r as f64);
                let (a, b) = (x[i], x[i + r / 2]);
                y[i] = a * angle.cos() - b * angle.sin();
                y[i + r / 2] = b * angle.cos() + a * angle.sin();
            }
        }
    }
    y
}

const FORMS: [(usize, usize, usize, usize); 5] = [
    (1, 1, 2, 2),
    (5, 2, 8, 8),
    (7, 3, 10, 4),
    (130, 4, 64, 64),
    (9, 1, 33, 32),
];

#[test]
fn pairs_of_channels_are_turned() {
    for (rows, heads, d, r) in FORMS {
        let x = numbers(3, rows * heads * d);
        let want = by_hand(&x, heads, d, r);
        matches("rope", &op(heads, d, r), &[x], &want);
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for (rows, heads, d, r) in FORMS.into_iter().filter(|f| f.0 < 100) {
        let name = format!("rope of {rows} rows");
        check_gradients(&name, &op(heads, d, r), &[numbers(1, rows * heads * d)]);
    }
}

#[test]
fn half_precision_is_turned_in_its_type() {
    let device = device();
    let dtype = DType::BF16;
    if !device.supports_dtype(dtype)
        || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
    {
        return;
    }
    let x = tensor(&numbers(1, 3 * 16), dtype, &device);
    let want = by_hand(&values(x.clone()), 2, 8, 8);
    let tables = spec(8).frequencies(3).unwrap();
    let tables = tables.tables(&positions(3), &device, DType::F32);
    let y = rope(x.reshape([3, 16]), tables.cos, tables.sin, 2);
    assert_eq!(y.dtype(), dtype);
    assert_close("rope", &values(y), &want, 2e-2);
}

#[test]
#[should_panic(expected = "do not fit 2 rows of 2 heads of 6 channels")]
fn tables_must_fit() {
    let device = device();
    let x = Tensor::<2>::zeros([2, 12], &device);
    let table = || Tensor::<2>::zeros([2, 4], &device);
    rope(x, table(), table(), 2);
}
