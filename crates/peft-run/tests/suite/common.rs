//! Goldens minted by `xtask/python/mint_goldens.py` from HF transformers and PEFT.

use std::path::PathBuf;

use burn::tensor::{Device, FloatDType, Tensor};
use peft_run::{
    core::AdapterContext,
    models::{EncoderConfig, HeadSpec, ModelFolder, PackedBatch, SequenceModel},
};
use serde_json::Value;

pub fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

pub fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(goldens().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn cpu() -> Device {
    peft_run::DeviceChoice::Cpu.select().unwrap().device
}

pub fn folder(name: &str, dtype: FloatDType) -> ModelFolder {
    let mut folder = ModelFolder::open(&goldens().join("models").join(name)).unwrap();
    folder.set_dtype(dtype);
    folder
}

pub fn model(name: &str, dtype: FloatDType, device: &Device) -> SequenceModel {
    let head = HeadSpec {
        outputs: 3,
        seed: 1,
    };
    SequenceModel::load(&folder(name, dtype), &head, device)
        .unwrap()
        .0
}

/// The rows of a set of inputs: token ids and segments.
pub fn rows(cases: &Value, inputs: &str) -> Vec<(Vec<u32>, Option<Vec<u32>>)> {
    let list = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    cases["inputs"][inputs]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                list(&row["ids"]),
                (!row["type_ids"].is_null()).then(|| list(&row["type_ids"])),
            )
        })
        .collect()
}

pub fn pack(
    config: &EncoderConfig,
    rows: &[(Vec<u32>, Option<Vec<u32>>)],
    device: &Device,
) -> PackedBatch {
    let typed = rows.iter().any(|(_, types)| types.is_some());
    let (mut ids, mut types, mut starts) = (Vec::new(), Vec::new(), vec![0]);
    for (row, segments) in rows {
        ids.extend(row);
        if typed {
            types.extend(segments.clone().unwrap_or_else(|| vec![0; row.len()]));
        }
        starts.push(ids.len());
    }
    PackedBatch::new(config, &ids, &types, &starts, device).unwrap()
}

pub fn logits(model: &SequenceModel, inputs: &str, device: &Device) -> Vec<f64> {
    let batch = pack(model.config(), &rows(&json("cases.json"), inputs), device);
    values(model.forward(&batch, &AdapterContext::inference()))
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

pub fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
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
