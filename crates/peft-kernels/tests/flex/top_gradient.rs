use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::same_for_any_threads;

const ROWS: usize = 70;
const WIDTH: usize = 13;

/// The gradient that comes back, of one that goes in.
fn cut(gradient: &[f64], rule: TopGradient) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let matrix = |v: &[f64]| tensor(v, DType::F64, &device).reshape([ROWS, WIDTH]);
    let x = matrix(&numbers(1, ROWS * WIDTH)).require_grad();
    let y = top_gradient(&x, rule).unwrap();
    assert_eq!(values(y.clone()), values(x.clone()));
    let grads = (y * matrix(gradient)).sum().backward();
    values(x.grad(&grads).unwrap())
}

/// The places of the largest, by a full sort.
fn largest(sizes: &[f64], keep: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
    order.truncate(keep);
    order
}

#[test]
fn the_largest_gradients_come_back() {
    // Rounded, so that there are equals.
    let gradient: Vec<f64> = (numbers(2, ROWS * WIDTH).iter())
        .map(|v| (v * 4.0).round() / 4.0)
        .collect();
    for keep in [0, 1, 5, 12, 13, 20] {
        let own = cut(
            &gradient,
            TopGradient {
                keep,
                unified: false,
            },
        );
        for (row, own) in gradient.chunks(WIDTH).zip(own.chunks(WIDTH)) {
            let sizes: Vec<f64> = row.iter().map(|v| v.abs()).collect();
            let kept = largest(&sizes, keep);
            for (column, (value, own)) in row.iter().zip(own).enumerate() {
                let wanted = if kept.contains(&column) { *value } else { 0.0 };
                assert_eq!(*own, wanted, "{keep}, {column}");
            }
        }
        let sums: Vec<f64> = (0..WIDTH)
            .map(|column| gradient.chunks(WIDTH).map(|row| row[column].abs()).sum())
            .collect();
        let kept = largest(&sums, keep);
        let unified = cut(
            &gradient,
            TopGradient {
                keep,
                unified: true,
            },
        );
        for (place, (value, found)) in gradient.iter().zip(&unified).enumerate() {
            let wanted = if kept.contains(&(place % WIDTH)) {
                *value
            } else {
                0.0
            };
            assert_eq!(*found, wanted, "{keep}, {place}");
        }
    }
}

#[test]
fn threads_do_not_show() {
    for unified in [false, true] {
        let op = move |mut t: Vec<Tensor<1>>| {
            let x = t.remove(0).reshape([ROWS, WIDTH]);
            let rule = TopGradient { keep: 4, unified };
            top_gradient(&x, rule).unwrap().flatten(0, 1)
        };
        same_for_any_threads("top_gradient", &op, &[numbers(1, ROWS * WIDTH)]);
    }
}
