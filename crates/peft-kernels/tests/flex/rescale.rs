use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn split(d: usize, mut t: Vec<Tensor<1>>) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
    let (factor, center) = (t.remove(2), t.remove(1));
    let x = t.remove(0);
    let rows = x.dims()[0] / d;
    (x.reshape([rows, d]), center, factor)
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_rescale_agrees(rows in 1_usize..200, d in 1_usize..40, key: u64, large: bool) {
        let mut f = numbers(key ^ 2, d);
        if large {
            f.iter_mut().for_each(|f| *f += f.signum());
        }
        let inputs = [numbers(key, rows * d), numbers(key ^ 1, d), f];
        let fast: Op<'_> = &move |t| {
            let (x, center, factor) = split(d, t);
            rescale(x, Some(center), factor).flatten(0, 1)
        };
        let portable: Op<'_> = &move |t| {
            let (x, center, factor) = split(d, t);
            portable::rescale(x, Some(center), factor).flatten(0, 1)
        };
        agree("rescale", fast, portable, &inputs);
    }
}

#[test]
fn threads_change_no_bit() {
    let d = 50;
    let op = move |t| {
        let (x, center, factor) = split(d, t);
        rescale(x, Some(center), factor).flatten(0, 1)
    };
    for f in [vec![1.5; d], numbers(3, d)] {
        let inputs = [numbers(1, 1000 * d), numbers(2, d), f];
        same_for_any_threads("rescale", &op, &inputs);
    }
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let device = Device::flex().autodiff();
    let shapes = [15, 3, 3];
    let gradients = |mask: u32| {
        let leaves: Vec<Tensor<1>> = (shapes.iter().enumerate())
            .map(|(i, &n)| {
                let leaf = tensor(&numbers(i as u64, n), DType::F64, &device).detach();
                leaf.set_require_grad(mask >> i & 1 == 1)
            })
            .collect();
        let (x, center, factor) = split(3, leaves.clone());
        let y = rescale(x, Some(center), factor).flatten::<1>(0, 1);
        let probe = tensor(&numbers(9, 15), DType::F64, &device);
        let grads = (y * probe).sum().backward();
        let grads = leaves.iter().map(|x| x.grad(&grads).map(values));
        grads.collect::<Vec<_>>()
    };
    let all = gradients(7);
    for mask in 1..7_u32 {
        for (i, got) in gradients(mask).into_iter().enumerate() {
            assert_eq!(got.is_some(), mask >> i & 1 == 1, "mask {mask}, input {i}");
            assert!(got.is_none() || got == all[i], "mask {mask}, input {i}");
        }
    }
}

#[test]
fn the_layout_of_a_weight_does_not_show_in_its_norms() {
    let device = Device::flex();
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let stored = tensor(&numbers(1, 83 * 37), dtype, &device).reshape([83, 37]);
        let view = stored.transpose();
        let copy = Tensor::<2>::from_data(view.clone().into_data(), (&device, dtype));
        let bits = |weight: &Tensor<2>| -> Vec<u64> {
            let norms = values(squared_column_norms(weight));
            norms.iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bits(&view), bits(&copy), "{dtype:?}");
        let part = view.clone().slice([3..30, 5..60]);
        let copy = Tensor::<2>::from_data(part.clone().into_data(), (&device, dtype));
        assert_eq!(bits(&part), bits(&copy), "{dtype:?}");
    }
}
