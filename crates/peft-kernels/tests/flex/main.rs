//! The fast bodies of flex against the portable ones, and their independence of the thread count.
#![cfg(feature = "flex")]

mod activation;
mod adamw;
mod attention;
mod checkpointing;
#[path = "../common/mod.rs"]
mod common;
mod cross_entropy;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod rescale;
mod rms_norm;
mod sine;
mod softmax;
mod sparse;
mod top_gradient;

use burn::tensor::{DType, Tensor};
use common::*;
use proptest::test_runner::Config;

/// Forward and backward: `f64` at 1e-12 and `f32` at 1e-5, both against the portable body in `f64`. Where the
/// terms of a gradient nearly cancel, no computation in `f32` is that close: there, the error may be up to
/// four times that of Burn's own operations in `f32`.
#[track_caller]
fn agree(name: &str, fast: Op<'_>, portable: Op<'_>, inputs: &[Vec<f64>]) {
    let (want, want_grads) = run(portable, inputs, DType::F64);
    let (_, single) = run(portable, inputs, DType::F32);
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let (got, grads) = run(fast, inputs, dtype);
        assert_close(&format!("{name}, {dtype:?}"), &got, &want, tolerance);
        for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
            let tolerance = match dtype {
                DType::F32 => tolerance.max(4.0 * distance(&single[i], want)),
                _ => tolerance,
            };
            let name = format!("{name}, {dtype:?}, gradient {i}");
            assert_close(&name, got, want, tolerance);
        }
    }
}

/// Asserts that 1, 2 and 4 threads give the same bits, forward and backward.
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
    for threads in [2, 4] {
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
