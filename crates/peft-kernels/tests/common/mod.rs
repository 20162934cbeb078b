//! What the tests share: the device, data, comparisons, finite differences.
#![allow(dead_code)] // Each test binary uses its part.

mod attention;
mod scan;
mod ssd;

pub use attention::Case;
use burn::tensor::{DType, Device, Tensor, TensorData};
use peft_kernels::normal;
pub use scan::ScanCase;
pub use ssd::DualCase;

/// The device named by `PEFT_TEST_DEVICE`: flex (the default), ndarray, wgpu or cuda.
pub fn device() -> Device {
    let name = std::env::var("PEFT_TEST_DEVICE").unwrap_or_else(|_| "flex".into());
    match name.as_str() {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // As a whole upstream, and tested while it ships.
        "ndarray" => Device::ndarray(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0usize),
        other => panic!("PEFT_TEST_DEVICE={other}: unknown, or its feature is not enabled"),
    }
}

/// Whether the device computes in `f64`; says so where it does not.
///
/// A GPU's own word is not enough: Mesa's lavapipe reports the type and computes it wrongly.
pub fn has_f64() -> bool {
    let gpu = std::env::var("PEFT_TEST_DEVICE").is_ok_and(|name| name == "wgpu");
    let has = !gpu && device().supports_dtype(DType::F64);
    if !has {
        eprintln!("skipped: f64 on this device");
    }
    has
}

/// Normal numbers, rounded to `f32` so that both precisions start from the same values.
pub fn numbers(key: u64, n: usize) -> Vec<f64> {
    normal(key, n).into_iter().map(f64::from).collect()
}

/// A vector on a device.
pub fn tensor(values: &[f64], dtype: DType, device: &Device) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// The elements of a tensor, widened.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// Where a tensor holds NaN.
pub fn nans<const D: usize>(x: Tensor<D>) -> Vec<bool> {
    values(x).iter().map(|v| v.is_nan()).collect()
}

/// Largest difference relative to the largest reference value.
pub fn distance(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30_f64, |m, w| m.max(w.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (g, w)| {
        let d = (g - w).abs() / scale;
        if d > m || d.is_nan() { d } else { m }
    })
}

/// Asserts that values agree within a relative tolerance.
#[track_caller]
pub fn assert_close(name: &str, got: &[f64], want: &[f64], tolerance: f64) {
    let d = distance(got, want);
    assert!(
        d <= tolerance,
        "{name}: relative difference {d:e} above {tolerance:e}"
    );
}

/// An operation over flat inputs; it reshapes them itself.
pub type Op<'a> = &'a dyn Fn(Vec<Tensor<1>>) -> Tensor<1>;

/// Output, and the gradients of `Σ cᵢ yᵢ` with fixed normal `c`, one for each input.
pub fn run(op: Op<'_>, inputs: &[Vec<f64>], dtype: DType) -> (Vec<f64>, Vec<Vec<f64>>) {
    let device = device().autodiff();
    let leaves: Vec<_> = inputs
        .iter()
        .map(|v| tensor(v, dtype, &device).require_grad())
        .collect();
    let y = op(leaves.clone());
    let out = values(y.clone());
    let weights = tensor(&numbers(99, out.len()), dtype, &device);
    let grads = (y * weights).sum().backward();
    let grads = leaves
        .iter()
        .map(|l| values(l.grad(&grads).expect("tracked")))
        .collect();
    (out, grads)
}

/// Compares the gradients of an operation with central differences in `f64`.
#[track_caller]
pub fn check_gradients(name: &str, op: Op<'_>, inputs: &[Vec<f64>]) {
    let (out, grads) = run(op, inputs, DType::F64);
    let weights = numbers(99, out.len());
    let device = device();
    let objective = |inputs: &[Vec<f64>]| -> f64 {
        let y = op(inputs
            .iter()
            .map(|v| tensor(v, DType::F64, &device))
            .collect());
        values(y).iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    let h = 1e-5;
    let mut moved = inputs.to_vec();
    for (i, grad) in grads.iter().enumerate() {
        let mut numeric = Vec::with_capacity(grad.len());
        for j in 0..grad.len() {
            let at = moved[i][j];
            moved[i][j] = at + h;
            let above = objective(&moved);
            moved[i][j] = at - h;
            let below = objective(&moved);
            moved[i][j] = at;
            numeric.push((above - below) / (2.0 * h));
        }
        let scale = numeric.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        for (j, (g, n)) in grad.iter().zip(&numeric).enumerate() {
            let d = (g - n).abs() / scale;
            assert!(
                d <= 1e-7,
                "{name}: input {i}, element {j}: gradient {g}, difference quotient {n}"
            );
        }
    }
}
