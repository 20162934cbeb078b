//! What the tests share: a dense reference, random numbers, and the golden files.
#![allow(dead_code, missing_docs)]

use std::{fs, path::PathBuf};

use peft_spectral::{Basis, Support, support, transform::basis_row};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Numbers that look random, uniform in `[-1, 1)`.
pub fn noise(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// `ΔW` by its definition, a rank-one update for every coefficient.
pub fn dense(
    basis: Basis,
    m: usize,
    n: usize,
    support: &Support,
    a: &[f64],
    gamma: f64,
) -> Vec<f64> {
    let mut delta = vec![0.0; m * n];
    let mut add = |k: usize, l: usize, value: f64| {
        let (out, input) = (basis_row::<f64>(basis, k, m), basis_row::<f64>(basis, l, n));
        for (row, &out) in delta.chunks_mut(n).zip(&out) {
            for (value_at, &input) in row.iter_mut().zip(&input) {
                *value_at += value * out * input;
            }
        }
    };
    for (&[u, v], &a) in support.entries().iter().zip(a) {
        add(u as usize, v as usize, gamma * a);
        if basis == Basis::Fourier {
            add(u as usize + m, v as usize + n, -gamma * a);
        }
    }
    delta
}

/// `x Wᵀ` for `x` `[rows, n]` and `w` `[m, n]`.
pub fn times_transposed(x: &[f64], w: &[f64], n: usize) -> Vec<f64> {
    x.chunks(n)
        .flat_map(|x| {
            w.chunks(n)
                .map(move |w| x.iter().zip(w).map(|(a, b)| a * b).sum())
        })
        .collect()
}

/// The transpose of a matrix of `cols` columns.
pub fn transposed(w: &[f64], cols: usize) -> Vec<f64> {
    let rows = w.len() / cols;
    (0..w.len())
        .map(|i| w[i % rows * cols + i / rows])
        .collect()
}

/// The largest difference, over the largest value (or 1, where all are smaller).
pub fn error(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted
        .iter()
        .fold(1.0_f64, |largest, x| largest.max(x.abs()));
    found
        .iter()
        .zip(wanted)
        .fold(0.0_f64, |worst, (a, b)| worst.max((a - b).abs()))
        / largest
}

/// A random support of `count` entries (as many as fit) of the basis's grid.
pub fn scattered(basis: Basis, m: usize, n: usize, count: usize, key: u64) -> Support {
    let (rows, cols) = (basis.frequencies(m), basis.frequencies(n));
    support::random(rows, cols, count.clamp(1, rows * cols), key).unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/goldens/spectral")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn json(name: &str) -> Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

/// Tensors of a golden file, widened.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(name: &str) -> Self {
        Self(golden(name))
    }

    pub fn get(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => bytes
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub fn shape(&self, name: &str) -> [usize; 2] {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.tensor(name).unwrap().shape().try_into().unwrap()
    }
}
