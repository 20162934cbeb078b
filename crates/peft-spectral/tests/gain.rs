//! Scales of other implementations, measured on the updates themselves.

mod common;

use common::dense;
use common::noise;
use peft_spectral::{
    Basis, Support,
    gain::{Convention, rate_scale},
};

fn norm(basis: Basis, m: usize, n: usize, place: [u32; 2], gamma: f64) -> f64 {
    let support = Support::new(m, n, vec![place]).unwrap();
    let delta = dense(basis, m, n, &support, &[1.0], gamma);
    delta.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn gains_are_the_norms_of_unit_coefficients() {
    let (m, n, scale) = (6, 8, 150.0);
    for u in 0..m as u32 {
        for v in 0..n as u32 {
            for (convention, basis) in [
                (Convention::Orthonormal, Basis::Dct),
                (Convention::FourierFt, Basis::Fourier),
                (Convention::TorchDct, Basis::Dct),
                (Convention::HartleyOverLength, Basis::Hartley),
            ] {
                let gamma = convention.gamma(scale, m, n) * convention.coefficient_factor([u, v]);
                let gain = convention.gain(scale, m, n, [u, v]);
                let measured = norm(basis, m, n, [u, v], gamma);
                assert!(
                    (gain - measured).abs() < 1e-12 * gain,
                    "{convention:?} {u} {v}"
                );
            }
        }
    }
}

#[test]
fn published_conversions_hold() {
    let gain = |convention: Convention, scale, side| convention.gain(scale, side, side, [1, 2]);
    for (found, wanted) in [
        (gain(Convention::FourierFt, 150.0, 768), 0.138),
        (gain(Convention::TorchDct, 150.0, 768), 0.0977),
        (gain(Convention::FourierFt, 300.0, 4096), 0.0518),
        (gain(Convention::TorchDct, 300.0, 4096), 0.0366),
    ] {
        assert!((found - wanted).abs() < 0.5e-3, "{found} {wanted}");
    }
}

#[test]
fn an_unnormalised_inverse_cosine_transform_is_ours_by_gamma_and_factor() {
    // torch_dct.idct_2d(norm=None) along one axis, by its definition: the inverse of
    // X_k = 2 Σ x_j cos(πk(2j+1)/2K).
    let side = 5;
    let theirs = |k: usize, j: usize| {
        let half = if k == 0 { 0.5 } else { 1.0 };
        let angle = std::f64::consts::PI * (k * (2 * j + 1)) as f64 / (2 * side) as f64;
        half * angle.cos() / side as f64
    };
    for [u, v] in [[0, 0], [0, 3], [2, 0], [4, 1]] {
        let factor = Convention::TorchDct.coefficient_factor([u, v]);
        let gamma = Convention::TorchDct.gamma(1.0, side, side);
        let support = Support::new(side, side, vec![[u, v]]).unwrap();
        let ours = dense(Basis::Dct, side, side, &support, &[factor], gamma);
        for (place, ours) in ours.iter().enumerate() {
            let wanted = theirs(u as usize, place / side) * theirs(v as usize, place % side);
            assert!((ours - wanted).abs() < 1e-15);
        }
    }
}

/// Root mean square of the change of the outputs, over inputs of unit mean square whose gradients'
/// signs the coefficients follow, for coefficients spread evenly over the outputs' frequencies.
fn movement(outputs: usize, count: usize, rate: f64) -> f64 {
    let inputs = 64;
    let x = noise(5, inputs);
    let size = (x.iter().map(|x| x * x).sum::<f64>() / inputs as f64).sqrt();
    let mut z = vec![0.0; outputs];
    for place in 0..count {
        // The mean magnitude of an input, instead of one place of it: the sum is what is compared.
        z[place % outputs] += rate * x.iter().map(|x| x.abs()).sum::<f64>() / inputs as f64 / size;
    }
    (z.iter().map(|z| z * z).sum::<f64>() / outputs as f64).sqrt()
}

#[test]
fn scaled_rates_move_outputs_alike_at_any_width_and_number() {
    let reference = movement(384, 1200, 1.0);
    assert_eq!(rate_scale(384, 1200), 1.0);
    for (outputs, count) in [
        (384, 2304),
        (768, 1536),
        (1536, 700),
        (4096, 1000),
        (128, 128),
    ] {
        let moved = movement(outputs, count, rate_scale(outputs, count));
        // The reference's 1,200 do not divide evenly among 384.
        assert!(
            (moved / reference - 1.0).abs() < 0.02,
            "{outputs} {count} {moved} {reference}"
        );
    }
}
