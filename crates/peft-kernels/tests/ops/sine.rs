use burn::tensor::Tensor;
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const FREQUENCY: f64 = 3.0;
const SCALE: f64 = 0.4;

/// `x`, weight, bias, `a` and `b`, flat; the weight is stored as `[out, in]`.
fn adapted(inner: usize, out: usize, rank: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let b = t.remove(4).reshape([rank, out]);
        let a = t.remove(3).reshape([inner, rank]);
        let bias = t.remove(2);
        let weight = t.remove(1).reshape([out, inner]).transpose();
        let x = t.remove(0);
        let rows = x.dims()[0] / inner;
        let x = x.reshape([rows, inner]);
        linear_sine(x, weight, Some(bias), a, b, FREQUENCY, SCALE).flatten(0, 1)
    }
}

fn inputs(rows: usize, inner: usize, out: usize, rank: usize) -> [Vec<f64>; 5] {
    let lengths = [rows * inner, out * inner, out, inner * rank, rank * out];
    let mut key = 0;
    lengths.map(|length| {
        key += 1;
        numbers(key, length)
    })
}

#[test]
fn the_weight_moves_by_a_sine() {
    // More outputs than a tile, and fewer.
    for (rows, inner, out, rank) in [(1, 1, 1, 1), (3, 7, 5, 2), (2, 5, 600, 3), (9, 33, 257, 4)] {
        let all = inputs(rows, inner, out, rank);
        let [x, w, bias, a, b] = &all;
        let weight = |k: usize, j: usize| {
            let product: f64 = (0..rank).map(|l| a[k * rank + l] * b[l * out + j]).sum();
            w[j * inner + k] + SCALE * (FREQUENCY * product).sin()
        };
        let mut want = Vec::new();
        for i in 0..rows {
            for (j, bias) in bias.iter().enumerate() {
                let sum: f64 = (0..inner).map(|k| x[i * inner + k] * weight(k, j)).sum();
                want.push(sum + bias);
            }
        }
        matches("linear_sine", &adapted(inner, out, rank), &all, &want);
    }
}

#[test]
fn gradients_match_finite_differences() {
    if has_f64() {
        check_gradients("linear_sine", &adapted(4, 5, 2), &inputs(3, 4, 5, 2));
        check_gradients("tiles", &adapted(2, 300, 1), &inputs(2, 2, 300, 1));
    }
}

#[test]
fn a_sine_of_zeros_changes_no_bit() {
    let device = device();
    for rows in [1, 3, 7, 40] {
        let tensor = |key: u64, shape: [usize; 2]| {
            let values = numbers(key, shape[0] * shape[1]);
            tensor(&values, burn::tensor::DType::F32, &device).reshape(shape)
        };
        let (x, w) = (tensor(1, [rows, 19]), tensor(2, [300, 19]).transpose());
        let (a, b) = (tensor(3, [19, 2]), tensor(4, [2, 300]).mul_scalar(0.0));
        let bias = Some(tensor(5, [1, 300]).reshape([300]));
        let plain = linear(x.clone(), w.clone(), bias.clone());
        let adapted = linear_sine(x, w, bias, a, b, FREQUENCY, SCALE);
        assert_eq!(values(adapted), values(plain), "{rows} rows");
    }
}
