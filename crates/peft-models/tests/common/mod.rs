#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of what is common"
)]
//! Checkpoints whose values are a formula, written and opened as any other folder.

mod families;

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use peft_core::{
    AdapterContext,
    format::{Dtype, SafetensorsWriter, TensorSpec},
};
use peft_models::{HeadKind, Model, ModelFolder, Network, Output, PackedBatch};
use serde_json::Value;
use tempfile::TempDir;

pub use families::{Row, config, rows};

/// The tokens of the reference's one sequence.
pub const IDS: [u32; 8] = [1, 5, 9, 3, 30, 7, 7, 12];

/// The value at a flat index of the `k`-th tensor: matrices `.3 sin(.9 i + k)`, biases
/// `.1 sin(.5 i + k)`, other vectors `center + .1 sin(.5 i + k)`.
fn value(name: &str, shape: &[usize], k: usize, i: usize, center: f64) -> f32 {
    let (i, k) = (i as f64, k as f64);
    let wave = 0.1 * (0.5 * i + k).sin();
    let value = if shape.len() > 1 {
        0.3 * (0.9 * i + k).sin()
    } else if name.ends_with("bias") {
        wave
    } else {
        center + wave
    };
    value as f32
}

/// Writes `config.json` and the tensors that the description calls for, in byte order of their names.
pub fn write(folder: &Path, config: &Value, head: HeadKind) {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    // A checkpoint of no tensors tells the description; then it gets them.
    let file = folder.join("model.safetensors");
    let empty = SafetensorsWriter::create(&file, Vec::new(), &Default::default()).unwrap();
    empty.finish().unwrap();
    let layout = ModelFolder::open(folder).unwrap().layout(head).unwrap();
    let mut parameters = layout.parameters;
    parameters.sort();
    let model_type = config["model_type"].as_str().unwrap();
    let center = if model_type.starts_with("gemma") {
        0.0
    } else {
        1.0
    };
    let spec =
        |(name, shape): &(String, Vec<usize>)| TensorSpec::new(name, Dtype::F32, shape.clone());
    let specs = parameters.iter().map(spec).collect();
    let mut writer = SafetensorsWriter::create(&file, specs, &Default::default()).unwrap();
    let mut data = std::collections::BTreeMap::new();
    for (k, (name, shape)) in parameters.iter().enumerate() {
        let values = (0..shape.iter().product()).map(|i| value(name, shape, k, i, center));
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        data.insert(name.clone(), bytes);
    }
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        writer.write(&name, &data[&name]).unwrap();
    }
    writer.finish().unwrap();
}

/// The folder of a configuration.
pub fn folder(config: &Value, head: HeadKind, dtype: FloatDType) -> (TempDir, ModelFolder) {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), config, head);
    let mut folder = ModelFolder::open(temp.path()).unwrap();
    folder.set_dtype(dtype);
    (temp, folder)
}

/// The model of a configuration that predicts the next token.
pub fn causal(config: &Value, dtype: FloatDType, device: &Device) -> Model {
    let (_temp, folder) = folder(config, HeadKind::Language, dtype);
    let (model, report) = Model::load(&folder, HeadKind::Language, 0, device).unwrap();
    assert!(
        report.created.is_empty() && report.unused.is_empty(),
        "{report:?}"
    );
    model
}

/// The logits of sequences laid end to end, a row for each token.
pub fn logits(model: &Model, sequences: &[&[u32]], device: &Device) -> Vec<Vec<f64>> {
    let batch = batch(model, sequences, device);
    let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference()) else {
        panic!("no logits");
    };
    let logits = head.logits(hidden);
    let width = logits.dims()[1];
    let values: Vec<f64> = logits.into_data().iter::<f64>().collect();
    values.chunks(width).map(<[f64]>::to_vec).collect()
}

/// Sequences laid end to end.
pub fn batch(model: &Model, sequences: &[&[u32]], device: &Device) -> PackedBatch {
    let mut starts = vec![0];
    for sequence in sequences {
        starts.push(starts.last().unwrap() + sequence.len());
    }
    PackedBatch::new(
        model.description(),
        &sequences.concat(),
        &[],
        &starts,
        device,
    )
    .unwrap()
}

/// The mean of `−log p` of each token after the first.
pub fn mean_loss(logits: &[Vec<f64>], ids: &[u32]) -> f64 {
    let losses = logits.iter().zip(&ids[1..]).map(|(row, id)| {
        let most = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - most).exp()).sum();
        sum.ln() + most - row[*id as usize]
    });
    losses.sum::<f64>() / (ids.len() - 1) as f64
}
