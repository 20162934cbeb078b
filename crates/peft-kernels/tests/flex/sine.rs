use burn::tensor::Tensor;
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn split(
    [inner, out, rank]: [usize; 3],
    mut t: Vec<Tensor<1>>,
) -> (Tensor<2>, Tensor<2>, Tensor<1>, Tensor<2>, Tensor<2>) {
    let b = t.remove(4).reshape([rank, out]);
    let a = t.remove(3).reshape([inner, rank]);
    let bias = t.remove(2);
    let weight = t.remove(1).reshape([out, inner]).transpose();
    let x = t.remove(0);
    let rows = x.dims()[0] / inner;
    (x.reshape([rows, inner]), weight, bias, a, b)
}

fn inputs(rows: usize, [inner, out, rank]: [usize; 3]) -> [Vec<f64>; 5] {
    let lengths = [rows * inner, out * inner, out, inner * rank, rank * out];
    let mut key = 0;
    lengths.map(|length| {
        key += 1;
        numbers(key, length)
    })
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_sine_agrees(rows in 1_usize..20, inner in 1_usize..30, out in 1_usize..300, rank in 1_usize..5) {
        let sizes = [inner, out, rank];
        let fast: Op<'_> = &move |t| {
            let (x, w, bias, a, b) = split(sizes, t);
            linear_sine(x, w, Some(bias), a, b, 2.0, 0.3).flatten(0, 1)
        };
        let portable: Op<'_> = &move |t| {
            let (x, w, bias, a, b) = split(sizes, t);
            portable::linear_sine(x, w, Some(bias), a, b, 2.0, 0.3).flatten(0, 1)
        };
        agree("linear_sine", fast, portable, &inputs(rows, sizes));
    }
}

#[test]
fn threads_change_no_bit() {
    let sizes = [90, 700, 4];
    let op = move |t| {
        let (x, w, bias, a, b) = split(sizes, t);
        linear_sine(x, w, Some(bias), a, b, 2.0, 0.3).flatten(0, 1)
    };
    same_for_any_threads("linear_sine", &op, &inputs(130, sizes));
}
