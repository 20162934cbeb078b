//! The gradient of LoCA's places, against its definition on the dense spectrum.

mod common;

use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use common::{error, noise};
use peft_core::{AdapterContext, BaseLinear, WeightAdapter};
use peft_spectral::{Basis, Loca, Route, transform::spectrum};

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn places_follow_central_differences_of_the_gradients_spectrum() {
    let device = Device::flex().autodiff();
    let (m, n, rows, count, gamma) = (9, 14, 5, 6, 0.7);
    let a = noise(1, count);
    // Corners, edges and the inside.
    let at = vec![
        0.0, 1.0, 0.5, 0.26, 0.9, 0.0, // u
        0.0, 1.0, 0.31, 0.77, 0.0, 0.6, // v
    ];
    let (x, dy) = (noise(2, rows * n), noise(3, rows * m));
    for evaluation in [Route::Fast, Route::Factored] {
        let adapter = Loca::new(
            tensor(a.clone(), [count], &device),
            tensor(at.clone(), [2, count], &device),
            [m, n],
            gamma,
            evaluation,
            true,
        );
        let base = BaseLinear::new(Tensor::zeros([n, m], (&device, DType::F64)), None);
        let input = tensor(x.clone(), [rows, n], &device);
        let y = adapter.forward(input, &base, &AdapterContext::inference());
        let grads = (y * tensor(dy.clone(), [rows, m], &device))
            .sum()
            .backward();
        let of_places = values(adapter.locations.val().grad(&grads).unwrap());
        let of_values = values(adapter.coefficients.val().grad(&grads).unwrap());

        let mut gradient = vec![0.0; m * n];
        for (x, dy) in x.chunks(n).zip(dy.chunks(m)) {
            for (line, dy) in gradient.chunks_mut(n).zip(dy) {
                for (sum, x) in line.iter_mut().zip(x) {
                    *sum += gamma * dy * x;
                }
            }
        }
        let k = spectrum(Basis::Dct, &gradient, m, n);
        let k = |u: u32, v: u32| k[u as usize * n + v as usize];
        let (last_u, last_v) = (m as u32 - 1, n as u32 - 1);
        let places = adapter.places();
        let along_u = places.iter().zip(&a).map(|(&[u, v], a)| {
            let across = k((u + 1).min(last_u), v) - k(u.saturating_sub(1), v);
            0.5 * a * across * f64::from(last_u)
        });
        let along_v = places.iter().zip(&a).map(|(&[u, v], a)| {
            let across = k(u, (v + 1).min(last_v)) - k(u, v.saturating_sub(1));
            0.5 * a * across * f64::from(last_v)
        });
        let wanted: Vec<f64> = along_u.chain(along_v).collect();
        assert!(error(&of_places, &wanted) < 1e-12, "{evaluation:?}");
        let wanted: Vec<f64> = places.iter().map(|&[u, v]| k(u, v)).collect();
        assert!(error(&of_values, &wanted) < 1e-12, "{evaluation:?}");
    }
}

#[test]
fn coefficients_of_one_place_add_up() {
    let device = Device::flex();
    let adapter = Loca::new(
        tensor(vec![1.5, -0.25], [2], &device),
        tensor(vec![0.5; 4], [2, 2], &device),
        [5, 7],
        1.0,
        Route::Fast,
        false,
    );
    let weight = Tensor::zeros([7, 5], (&device, DType::F64));
    let merged = values(adapter.effective(weight));
    // One entry of 1.25: the norm of an orthonormal basis is that of its coefficients.
    let norm = merged.iter().map(|v| v * v).sum::<f64>().sqrt();
    assert!((norm - 1.25).abs() < 1e-14, "{norm}");
}
