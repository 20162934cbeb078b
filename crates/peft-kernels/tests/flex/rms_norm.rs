use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

type Norm = fn(Tensor<2>, Tensor<2>, Tensor<1>, f64) -> (Tensor<2>, Tensor<2>);

/// Both results, used unevenly, so that their gradients are told apart.
fn of_sum(norm: Norm, rows: usize, d: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
    move |mut t| {
        let gamma = t.remove(2);
        let [x, r] = [t.remove(0), t.remove(0)].map(|x| x.reshape([rows, d]));
        let (y, sum) = norm(x, r, gamma, 1e-5);
        (y + sum * 0.5).flatten(0, 1)
    }
}

fn inputs(rows: usize, d: usize) -> [Vec<f64>; 3] {
    [(1, rows * d), (2, rows * d), (3, d)].map(|(k, n)| numbers(k, n))
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let op = of_sum(add_rms_norm, 700, 65);
    same_for_any_threads("add_rms_norm", &op, &inputs(700, 65));
}

#[test]
fn no_rows_give_no_rows_and_no_gradient() {
    let device = Device::flex().autodiff();
    let x = Tensor::<2>::empty([0, 5], (&device, DType::F32)).require_grad();
    let gamma = Tensor::<1>::ones([5], (&device, DType::F32)).require_grad();
    let (y, sum) = add_rms_norm(x.clone(), x.clone(), gamma.clone(), 1e-5);
    assert_eq!((y.dims(), sum.dims()), ([0, 5], [0, 5]));
    let grads = y.sum().backward();
    assert_eq!(x.grad(&grads).unwrap().dims(), [0, 5]);
    assert_eq!(values(gamma.grad(&grads).unwrap()), [0.0; 5]);
}

#[test]
fn the_sum_alone_passes_its_gradient_on() {
    let device = Device::flex().autodiff();
    let x = tensor(&numbers(1, 12), DType::F64, &device).require_grad();
    let gamma = tensor(&[1.0; 4], DType::F64, &device);
    let rows = x.clone().reshape([3, 4]);
    let (_, sum) = add_rms_norm(rows.clone(), rows, gamma, 1e-5);
    let grads = sum.sum().backward();
    assert_eq!(values(x.grad(&grads).unwrap()), [2.0; 12]);
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    // The norm of one number is constant but for ε: its gradient is rounding alone.
    fn any_rms_norm_agrees(rows in 1_usize..140, d in 2_usize..200) {
        let [x, r, gamma] = inputs(rows, d);
        agree(
            "add_rms_norm",
            &of_sum(add_rms_norm, rows, d),
            &of_sum(portable::add_rms_norm, rows, d),
            &[x.clone(), r, gamma.clone()],
        );
        agree(
            "rms_norm",
            &move |mut t| {
                let gamma = t.remove(1);
                rms_norm(t.remove(0).reshape([rows, d]), gamma, 1e-5).flatten(0, 1)
            },
            &move |mut t| {
                let gamma = t.remove(1);
                portable::rms_norm(t.remove(0).reshape([rows, d]), gamma, 1e-5).flatten(0, 1)
            },
            &[x, gamma],
        );
    }
}
