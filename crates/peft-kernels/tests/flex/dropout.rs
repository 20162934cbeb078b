use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::same_for_any_threads;

#[test]
fn dropout_masks_are_the_same_bits() {
    let x = tensor(&numbers(1, 40_003), DType::F32, &Device::flex());
    let rule = Dropout {
        probability: 0.3,
        key: 9,
    };
    let bits = |x: Tensor<1>| {
        x.into_data()
            .iter::<f32>()
            .map(f32::to_bits)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        bits(dropout(x.clone(), rule)),
        bits(portable::dropout(x, rule))
    );
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let rule = Dropout {
        probability: 0.1,
        key: 6,
    };
    same_for_any_threads(
        "dropout",
        &move |mut x| dropout(x.remove(0), rule),
        &[numbers(1, 45_503)],
    );
}
