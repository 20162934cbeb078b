//! Every operation against its definition, on the device that `PEFT_TEST_DEVICE` names.

mod activation;
mod adamw;
mod attention;
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
mod sparse_core;
mod ssd;
mod types;

use burn::tensor::DType;
use common::*;

/// Runs on `f32`, compares at 1e-5, and again on `f64` at 1e-12 where the device has it.
#[track_caller]
fn matches(name: &str, op: Op<'_>, inputs: &[Vec<f64>], want: &[f64]) {
    let device = device();
    let forward = |dtype| {
        values(op(inputs
            .iter()
            .map(|v| tensor(v, dtype, &device))
            .collect()))
    };
    assert_close(name, &forward(DType::F32), want, 1e-5);
    if has_f64() {
        assert_close(name, &forward(DType::F64), want, 1e-12);
    }
}
