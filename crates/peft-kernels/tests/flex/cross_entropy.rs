use burn::tensor::{Device, Int, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::{agree, same_for_any_threads};

#[test]
fn cross_entropy_agrees() {
    let (rows, classes) = (37, 1003);
    let targets = move || {
        let t: Vec<i32> = (0..rows).map(|i| (i * 97 % classes) as i32).collect();
        Tensor::<1, Int>::from_ints(t.as_slice(), &Device::flex())
    };
    agree(
        "cross_entropy",
        &move |mut x| cross_entropy(x.remove(0).reshape([rows, classes]), targets()),
        &move |mut x| portable::cross_entropy(x.remove(0).reshape([rows, classes]), targets()),
        &[numbers(1, rows * classes)],
    );
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    same_for_any_threads(
        "cross_entropy",
        &|mut x| {
            let targets = Tensor::<1, Int>::from_ints([3; 100], &Device::flex());
            cross_entropy(x.remove(0).reshape([100, 501]), targets)
        },
        &[numbers(1, 50_100)],
    );
}
