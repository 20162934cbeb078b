//! The fast bodies of flex against the portable ones, and their independence of the thread count.
#![cfg(feature = "flex")]

mod activation;
mod adamw;
mod attention;
mod blocks;
mod checkpointing;
#[path = "../common/mod.rs"]
mod common;
mod conv;
mod cross_entropy;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod rescale;
mod rms_norm;
mod rope;
mod scan;
mod sine;
mod softmax;
mod sparse;
mod ssd;
mod top_gradient;

use burn::tensor::{DType, Tensor};
use common::*;
use proptest::test_runner::Config;

/// Forward and backward: `f64` at 1e-12 and `f32` at 1e-5, both against the portable body in `f64`.
///
/// Where the terms of a gradient nearly cancel, no computation in `f32` is that close. There the error may be
/// 32 times what the gradient itself moves when every number is moved within its last place. In 82,746 results
/// of 1,500 random cases an operation two gradients were off by more than 1e-5; in 60,000 gradients of
/// attention of width 1 to 3 with a prefix of as many keys, where they cancel most, 78 were. Those were off by
/// up to 18 times what moving the inputs alone did, Burn's own by up to 9 times. Burn's error in `f32` is no
/// measure: it may be small by luck, and was up to 167 times smaller.
#[track_caller]
fn agree(name: &str, fast: Op<'_>, portable: Op<'_>, inputs: &[Vec<f64>]) {
    let (want, want_grads) = run(portable, inputs, DType::F64);
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let (got, grads) = run(fast, inputs, dtype);
        assert_close(&format!("{name}, {dtype:?}"), &got, &want, tolerance);
        for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
            let mut tolerance = tolerance;
            if dtype == DType::F32 && distance(got, want) > tolerance {
                let moved = sensitivity(portable, inputs, i, want);
                tolerance = tolerance.max(32.0 * moved);
            }
            let name = format!("{name}, {dtype:?}, gradient {i}");
            assert_close(&name, got, want, tolerance);
        }
    }
}

/// How far gradient `i` moves, in `f64`, when the inputs and the weights of the outputs move by up to half of
/// the last place of an `f32`: the most of eight draws.
fn sensitivity(portable: Op<'_>, inputs: &[Vec<f64>], i: usize, want: &[f64]) -> f64 {
    let half_place = 0.5_f64.powi(24);
    let factors = |key: u64, length: usize| -> Vec<f64> {
        let draws = peft_kernels::uniform(key, length).into_iter();
        let within = |draw: f32| 1.0 + (2.0 * f64::from(draw) - 1.0) * half_place;
        draws.map(within).collect()
    };
    let moved = |draw: u64| {
        let near: Vec<Vec<f64>> = (inputs.iter().zip(1000 * draw + 1..))
            .map(|(values, key)| {
                let factors = factors(key, values.len());
                values.iter().zip(factors).map(|(v, f)| v * f).collect()
            })
            .collect();
        // `run` weighs the outputs by fixed numbers.
        let weighed = |x: Vec<Tensor<1>>| {
            let y = portable(x);
            let factors = factors(1000 * draw, y.dims()[0]);
            let factors = tensor(&factors, DType::F64, &y.device());
            y * factors
        };
        let (_, grads) = run(&weighed, &near, DType::F64);
        distance(&grads[i], want)
    };
    (0..8).map(moved).fold(0.0, f64::max)
}

/// Asserts that 1, 2, 4 and 5 threads give the same bits, forward and backward.
#[track_caller]
fn same_for_any_threads(
    name: &str,
    op: &(dyn Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync),
    inputs: &[Vec<f64>],
) {
    let with = |threads| -> Vec<u64> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let (out, grads) = pool.install(|| run(op, inputs, DType::F32));
        out.iter()
            .chain(grads.iter().flatten())
            .map(|v| v.to_bits())
            .collect()
    };
    let one = with(1);
    for threads in [2, 4, 5] {
        assert!(
            one == with(threads),
            "{name}: {threads} threads gave other bits than 1"
        );
    }
}

/// Few cases of a property, for each runs forward and backward in two precisions.
fn few_cases() -> Config {
    Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    }
}
