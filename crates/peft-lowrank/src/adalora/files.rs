//! Triplets in files: of each weight those that are kept.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use peft_core::{AdapterError, Fields, HostTensor, Target};
use serde_json::{Map, Value};

pub const A: &str = "lora_A";
pub const B: &str = "lora_B";
pub const E: &str = "lora_E";

/// Name under which `rank_pattern` speaks of a module.
pub fn pattern_key(module: &str) -> String {
    format!("{module}.{E}")
}

/// `rank_pattern` of trained adapters, if any triplet is pruned.
pub fn pattern(modules: &BTreeMap<String, Fields<TensorData>>) -> Map<String, Value> {
    let masks: Vec<(&String, Vec<bool>)> = modules
        .iter()
        .filter_map(|(module, fields)| Some((module, mask(fields.get("kept")?))))
        .collect();
    let mut map = Map::new();
    if masks.iter().any(|(_, kept)| kept.contains(&false)) {
        let masks = masks.into_iter();
        let masks = masks.map(|(module, kept)| (pattern_key(module), Value::from(kept)));
        map.insert("rank_pattern".into(), Value::Object(masks.collect()));
    }
    map
}

fn mask(kept: &TensorData) -> Vec<bool> {
    kept.iter::<i64>().map(|kept| kept != 0).collect()
}

/// The tensors of a file from an adapter's fields: `lora_A` `[k, in]`, `lora_E` `[k, 1]` and `lora_B`
/// `[out, k]` of the `k` triplets that are kept.
pub fn export(
    target: &Target,
    mut fields: Fields<TensorData>,
) -> Result<Fields<HostTensor>, AdapterError> {
    let kept = fields.remove("kept").map(|kept| mask(&kept));
    let mut take = |field: &str, suffix: &str| target.to_store(&mut fields, field, suffix);
    let (a, e, b) = (take("a", A)?.transposed(), take("e", E)?, take("b", B)?);
    let held = e.shape[0];
    // Factors from a pruned file hold kept triplets only; where none is kept they hold one of zeros.
    let rows: Vec<usize> = match kept {
        Some(kept) if kept.len() == held || !kept.contains(&true) => {
            (0..held).filter(|row| kept[*row]).collect()
        }
        _ => (0..held).collect(),
    };
    let column = HostTensor {
        shape: vec![held, 1],
        ..e
    };
    Ok(Fields::from([
        (A.to_owned(), select(&a, &rows)),
        (E.to_owned(), select(&column, &rows)),
        (B.to_owned(), select(&b, &rows).transposed()),
    ]))
}

/// Some rows of a matrix.
fn select(matrix: &HostTensor, rows: &[usize]) -> HostTensor {
    let width = matrix.bytes.len() / matrix.shape[0].max(1);
    let row = |row: &usize| matrix.bytes[row * width..(row + 1) * width].to_vec();
    HostTensor {
        dtype: matrix.dtype,
        shape: vec![rows.len(), matrix.shape[1]],
        bytes: rows.iter().flat_map(row).collect(),
    }
}
