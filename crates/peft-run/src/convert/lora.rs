//! Plain LoRA of PEFT.

use std::{collections::BTreeMap, path::Path};

use indexmap::IndexMap;
use peft_core::HostTensor;
use peft_format::{
    AdapterConfig, Bias, TargetSpec,
    adapter::{PREFIX, bias_key, join_key},
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
        let [name_a, name_b] = match factors.table {
            true => ["lora_embedding_A", "lora_embedding_B"],
            false => ["lora_A.weight", "lora_B.weight"],
        };
        tensors.insert(key(name_a), a);
        tensors.insert(key(name_b), b);
    }
    for (name, tensor) in &loaded.saved {
        let bias = name.strip_suffix(".bias");
        let key = match bias.filter(|module| all.iter().any(|one| one.module == **module)) {
            Some(module) => bias_key(module),
            None => format!("{PREFIX}{name}"),
        };
        tensors.insert(key, tensor.clone());
    }
    save_adapter(folder, &config, &tensors)?;
    error::of_folder(conversion, folder)
}

/// Targets in LoRA's words.
fn as_lora(target: &TargetSpec) -> TargetSpec {
    let bias = match &target.bias {
        Bias::Targets(_) => Bias::Targets("lora_only".into()),
        other => other.clone(),
    };
    TargetSpec {
        bias,
        ..target.clone()
    }
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
        .target(&as_lora(from.target()));
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    Ok(builder.build()?)
}
