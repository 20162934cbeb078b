use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use crate::Bench;
use crate::bench::{Work::Bytes, random};

/// The trained tensors of LoRA of rank 8 on all six weights of a dozen layers.
fn shapes(bench: &Bench) -> Vec<usize> {
    let (d, ffn) = (bench.sizes.d(), bench.sizes.ffn);
    let layer = [d, d, d, d, d, d, d, d, d, ffn, ffn, d].map(|width| 8 * width);
    layer.repeat(12)
}

pub fn run(bench: &mut Bench) {
    let device = Device::flex();
    let shapes = shapes(bench);
    let count = shapes.iter().sum::<usize>();
    let named = |kernel: &str| format!("{kernel} {} tensors, {count} numbers", shapes.len());
    let (step_name, norms_name) = (named("adamw"), named("norms"));
    if !bench.times(&step_name) && !bench.times(&norms_name) {
        return;
    }
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        count: 10,
        gradient_scale: 0.5,
    };
    let start = || -> Vec<AdamWTensor> {
        let tensor = |&n: &usize| AdamWTensor {
            value: random([n], &device),
            mean: random([n], &device),
            square: Tensor::ones([n], &device),
            gradient: random([n], &device),
            rate: 1e-3,
        };
        shapes.iter().map(tensor).collect()
    };
    let mut tensors = start();
    let ours = bench.seconds(|| tensors = adamw(std::mem::take(&mut tensors), &step));
    let mut tensors = start();
    let burns = bench.seconds(|| {
        let each = |tensor| portable::adamw(tensor, &step);
        tensors = std::mem::take(&mut tensors).into_iter().map(each).collect();
    });
    bench.add(&step_name, "step", ours, Some(burns), Bytes(7 * 4 * count));

    let gradients: Vec<_> = tensors.into_iter().map(|t| t.gradient).collect();
    let ours = bench.seconds(|| drop(black_box(norms(&gradients))));
    let burns = bench.seconds(|| drop(black_box(portable::norms(&gradients))));
    bench.add(&norms_name, "forward", ours, Some(burns), Bytes(4 * count));
}
