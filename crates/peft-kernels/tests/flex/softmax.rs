use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let op: &(dyn Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync) =
        &|mut t| softmax(t.remove(0).reshape([700, 65])).flatten(0, 1);
    same_for_any_threads("softmax", op, &[numbers(1, 700 * 65)]);
}

#[test]
fn no_rows_give_no_rows() {
    for shape in [[0, 5], [5, 0]] {
        let x = Tensor::<2>::empty(shape, (&Device::flex(), DType::F32));
        assert_eq!(softmax(x).dims(), shape);
    }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_softmax_agrees(rows in 1_usize..90, d in 2_usize..300, scale in 0.1_f64..3.0) {
        // Rounded, so that both precisions read the same numbers.
        let scaled = |v: &f64| f64::from((v * scale) as f32);
        let x = numbers(1, rows * d).iter().map(scaled).collect();
        agree(
            "softmax",
            &move |mut t| softmax(t.remove(0).reshape([rows, d])).flatten(0, 1),
            &move |mut t| portable::softmax(t.remove(0).reshape([rows, d])).flatten(0, 1),
            &[x],
        );
    }
}
