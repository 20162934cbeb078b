//! Plain LoRA of PEFT.

use std::{collections::BTreeMap, path::Path};

use indexmap::IndexMap;
use peft_core::HostTensor;
use peft_format::{
    AdapterConfig,
    adapter::{PREFIX, join_key},
    save_adapter,
};
use serde_json::{Map, Value};

use super::{Conversion, Factors, error};
use crate::RunError;

/// Write the folder's files; the error of each module.
pub fn write(
    conversion: &Conversion,
    all: &[Factors],
    folder: &Path,
) -> Result<BTreeMap<String, f64>, RunError> {
    let loaded = conversion.loaded;
    let config = lora_config(&loaded.config, all)?;
    let mut tensors = IndexMap::new();
    for factors in all {
        let key = |suffix| join_key(&factors.module, suffix);
        let a = HostTensor::from_f32([factors.rank, factors.inputs], &factors.a);
        let scale = factors.scale as f32;
        let b: Vec<f32> = factors.b.iter().map(|value| value * scale).collect();
        let b = HostTensor::from_f32([factors.outputs, factors.rank], &b);
        tensors.insert(key("lora_A.weight"), a);
        tensors.insert(key("lora_B.weight"), b);
    }
    for (name, tensor) in &loaded.saved {
        tensors.insert(format!("{PREFIX}{name}"), tensor.clone());
    }
    save_adapter(folder, &config, &tensors)?;
    error::of_folder(conversion, folder)
}

/// LoRA's configuration of these factors, with the targets and modules of the adapter they come from.
fn lora_config(from: &AdapterConfig, all: &[Factors]) -> Result<AdapterConfig, RunError> {
    let usual = all.first().map_or(1, |factors| factors.rank);
    let patterns: Map<String, Value> = (all.iter())
        .filter(|factors| factors.rank != usual)
        .map(|factors| (factors.module.clone(), factors.rank.into()))
        .collect();
    let mut settings = Map::new();
    settings.insert("r".into(), usual.into());
    settings.insert("lora_alpha".into(), usual.into());
    settings.insert("rank_pattern".into(), patterns.clone().into());
    settings.insert("alpha_pattern".into(), patterns.into());
    let lora = peft_methods::by_name("lora")?;
    let method = (lora.build)(&settings)?;
    let mut builder = AdapterConfig::builder(method.peft_type())
        .task_type(from.task_type())
        .base_model(from.base_model_name_or_path())
        .target(from.target());
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    Ok(builder.build()?)
}
