//! A tiny Mamba against a recurrence written out in double precision.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType};
use peft_models::{HeadKind, Model};
use serde_json::{Value, json};

use super::common::{IDS, folder, logits};

const E: usize = 8;
const D: usize = 16;
const N: usize = 3;
const R: usize = 2;
const K: usize = 4;
const LAYERS: usize = 2;
const VOCABULARY: usize = 32;

fn config(tied: bool) -> Value {
    json!({
        "model_type": "mamba", "vocab_size": VOCABULARY, "hidden_size": E, "state_size": N,
        "num_hidden_layers": LAYERS, "expand": 2, "conv_kernel": K, "time_step_rank": R,
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": tied,
    })
}

type Weights = BTreeMap<String, Vec<f64>>;

fn weights(folder: &peft_models::ModelFolder) -> Weights {
    let checkpoint = folder.checkpoint();
    let read = |name: &str| {
        let values = checkpoint.to_f32(name).unwrap();
        (name.to_owned(), values.into_iter().map(f64::from).collect())
    };
    checkpoint.names().map(read).collect()
}

/// `[out, in]` times a vector.
fn product(weight: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weight.chunks(x.len());
    rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
        .collect()
}

fn norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let factor = 1.0 / (mean + 1e-5).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * factor * w).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The logits of one sequence, token after token.
fn reference(weights: &Weights, ids: &[u32], tied: bool) -> Vec<Vec<f64>> {
    let table = &weights["backbone.embeddings.weight"];
    let mut hidden: Vec<Vec<f64>> = ids
        .iter()
        .map(|id| table[*id as usize * E..(*id as usize + 1) * E].to_vec())
        .collect();
    for layer in 0..LAYERS {
        let of = |part: &str| &weights[&format!("backbone.layers.{layer}.{part}")];
        let mut past: Vec<Vec<f64>> = vec![vec![0.0; D]; K];
        let mut state = vec![0.0; D * N];
        for x in &mut hidden {
            let both = product(of("mixer.in_proj.weight"), &norm(x, of("norm.weight")));
            past.remove(0);
            past.push(both[..D].to_vec());
            let (kernel, bias) = (of("mixer.conv1d.weight"), of("mixer.conv1d.bias"));
            let u: Vec<f64> = (0..D)
                .map(|d| {
                    let taps = (0..K).map(|k| kernel[d * K + k] * past[k][d]);
                    silu(taps.sum::<f64>() + bias[d])
                })
                .collect();
            let chosen = product(of("mixer.x_proj.weight"), &u);
            let steps = product(of("mixer.dt_proj.weight"), &chosen[..R]);
            let (b, c) = (&chosen[R..R + N], &chosen[R + N..]);
            let y: Vec<f64> = (0..D)
                .map(|d| {
                    let delta = (steps[d] + of("mixer.dt_proj.bias")[d]).exp().ln_1p();
                    let mut y = of("mixer.D")[d] * u[d];
                    for n in 0..N {
                        let a = -of("mixer.A_log")[d * N + n].exp();
                        let h = &mut state[d * N + n];
                        *h = (delta * a).exp() * *h + delta * u[d] * b[n];
                        y += *h * c[n];
                    }
                    y * silu(both[D + d])
                })
                .collect();
            for (x, add) in x.iter_mut().zip(product(of("mixer.out_proj.weight"), &y)) {
                *x += add;
            }
        }
    }
    let head = if tied {
        table
    } else {
        &weights["lm_head.weight"]
    };
    let rows = hidden.iter();
    rows.map(|x| product(head, &norm(x, &weights["backbone.norm_f.weight"])))
        .collect()
}

#[test]
fn packed_rows_follow_the_recurrence() {
    let device = Device::flex();
    let sequences: [&[u32]; 4] = [&[4, 4, 19], &IDS, &[2], &[30, 1, 1, 0, 5]];
    for (dtype, tolerance) in [(FloatDType::F32, 2e-5), (FloatDType::F64, 1e-11)] {
        for tied in [true, false] {
            let (_temp, folder) = folder(&config(tied), HeadKind::Language, dtype);
            let (model, _) = Model::load(&folder, HeadKind::Language, 0, &device).unwrap();
            let weights = weights(&folder);
            let found = logits(&model, &sequences, &device);
            let expected = sequences.map(|ids| reference(&weights, ids, tied)).concat();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!(
                    (found - expected).abs() < tolerance,
                    "{found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn mamba_scores_no_sequences() {
    let (_temp, folder) = folder(&config(true), HeadKind::Language, FloatDType::F32);
    let head = HeadKind::Sequence { outputs: 2 };
    let error = Model::load(&folder, head, 0, &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("scores sequences"), "{error}");
}
