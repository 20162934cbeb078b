//! Goldens minted by `xtask/python/mint_goldens.py` from Hugging Face PEFT, and comparisons.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use serde_json::Value;

pub fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

pub fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(goldens().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn cpu() -> Device {
    Device::flex()
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Largest difference, relative to values above 1.
pub fn difference(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let pairs = actual.iter().zip(expected);
    pairs
        .map(|(a, e)| (a - e).abs() / e.abs().max(1.0))
        .fold(0.0, |worst, d| {
            // A NaN must not pass for a small difference.
            if d.is_nan() {
                f64::INFINITY
            } else {
                f64::max(worst, d)
            }
        })
}

pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    let worst = difference(actual, expected);
    assert!(
        worst <= tolerance,
        "{what}: {worst:e} is more than {tolerance:e}"
    );
}
