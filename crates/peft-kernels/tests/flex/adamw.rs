use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::few_cases;

fn tensors(lengths: &[usize], dtype: DType) -> Vec<AdamWTensor> {
    let of = |key: usize, n: usize| numbers(key as u64, n);
    let on = |v: &[f64]| tensor(v, dtype, &Device::flex());
    let squares = |v: Vec<f64>| v.into_iter().map(|v| v * v).collect::<Vec<_>>();
    (lengths.iter().enumerate())
        .map(|(i, &n)| AdamWTensor {
            value: on(&of(4 * i + 1, n)),
            mean: on(&of(4 * i + 2, n)),
            square: on(&squares(of(4 * i + 3, n))),
            gradient: on(&of(4 * i + 4, n)),
            rate: 1e-3 * (i + 1) as f64,
        })
        .collect()
}

fn gradients(tensors: &[AdamWTensor]) -> Vec<Tensor<1>> {
    tensors.iter().map(|t| t.gradient.clone()).collect()
}

fn flat(tensors: Vec<AdamWTensor>) -> Vec<f64> {
    let numbers = |t: AdamWTensor| [t.value, t.mean, t.square].map(values).concat();
    tensors.into_iter().flat_map(numbers).collect()
}

const STEP: AdamWStep = AdamWStep {
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.01,
    count: 7,
    gradient_scale: 0.5,
};

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let run = || {
        let lengths = [5, 70_001, 16_384, 33_000, 0, 1];
        let norms = norms(&gradients(&tensors(&lengths, DType::F32)));
        let new = flat(adamw(tensors(&lengths, DType::F32), &STEP));
        (norms, new)
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run)
    };
    let one = with(1);
    for threads in [2, 4] {
        assert!(one == with(threads), "{threads} threads gave other bits");
    }
}

#[test]
fn tensors_of_both_types_and_strided_ones_mix() {
    let mut mixed = tensors(&[20, 30], DType::F64);
    mixed.extend(tensors(&[20], DType::F32));
    // Every second number of a longer tensor: a view that has no storage of its own.
    let long = tensor(&numbers(50, 60), DType::F64, &Device::flex());
    mixed[1].value = long.reshape([30, 2]).slice([0..30, 1..2]).reshape([30]);
    let want: Vec<f64> = mixed
        .iter()
        .flat_map(|t| flat(vec![portable::adamw(t.clone(), &STEP)]))
        .collect();
    assert_close("mixed", &flat(adamw(mixed, &STEP)), &want, 1e-6);
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_tensors_agree(
        lengths in prop::collection::vec(0_usize..3000, 0..6),
        beta1 in 0.0_f64..0.99,
        beta2 in 0.5_f64..0.9999,
        weight_decay in 0.0_f64..0.5,
        count in 1_u64..10_000,
        gradient_scale in 1e-3_f64..1.0,
    ) {
        let step = AdamWStep { beta1, beta2, eps: 1e-8, weight_decay, count, gradient_scale };
        let by_parts = |t| portable::adamw(t, &step);
        let want = flat(tensors(&lengths, DType::F64).into_iter().map(by_parts).collect());
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            let given = tensors(&lengths, dtype);
            let got = norms(&gradients(&given));
            assert_close("norms", &got, &portable::norms(&gradients(&given)), 1e-5);
            assert_close("adamw", &flat(adamw(given, &step)), &want, tolerance);
        }
    }
}
