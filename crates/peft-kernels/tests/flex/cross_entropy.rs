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

type Head = fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, Option<f64>, f64) -> Tensor<1>;

fn head(
    by: Head,
    [rows, d, classes]: [usize; 3],
    cap: Option<f64>,
) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
    move |mut t| {
        let weight = t.remove(1).reshape([d, classes]);
        let targets: Vec<i32> = (0..rows).map(|i| (i * 97 % classes) as i32).collect();
        let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &Device::flex());
        by(t.remove(0).reshape([rows, d]), weight, targets, cap, 0.5)
    }
}

#[test]
fn heads_agree() {
    // The last has logits for 8 rows at a time.
    for (shape, cap) in [
        ([37, 16, 1003], None),
        ([37, 16, 1003], Some(3.0)),
        ([19, 2, 1_000_003], Some(30.0)),
    ] {
        let [rows, d, classes] = shape;
        agree(
            "head_cross_entropy",
            &head(head_cross_entropy, shape, cap),
            &head(portable::head_cross_entropy, shape, cap),
            &[numbers(1, rows * d), numbers(2, d * classes)],
        );
    }
}

#[test]
fn the_bits_of_a_head_do_not_depend_on_the_thread_count() {
    for shape in [[300, 48, 501], [19, 4, 1_000_003]] {
        let [rows, d, classes] = shape;
        let inputs = [numbers(1, rows * d), numbers(2, d * classes)];
        let op = head(head_cross_entropy, shape, Some(5.0));
        same_for_any_threads("head_cross_entropy", &op, &inputs);
    }
}

#[test]
#[should_panic(expected = "head_cross_entropy: target 7 is outside 0 .. 5")]
fn a_target_of_a_head_outside_of_its_classes_is_named() {
    let device = Device::flex();
    let targets = Tensor::<1, Int>::from_ints([1, 7], &device);
    let (x, w) = (Tensor::ones([2, 3], &device), Tensor::ones([3, 5], &device));
    head_cross_entropy(x, w, targets, None, 1.0);
}
