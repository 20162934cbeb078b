//! SLL-LoRA: LoRA with targets and ranks of its own.

use std::sync::Arc;

use peft_core::{AdapterError, Method};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_ssm::SllLoraMethod;
use serde_json::{Map, Value};

/// LoRA's, but for rank and scale, which follow from the model.
pub fn defaults() -> Map<String, Value> {
    let mut all = LoraConfig::default().to_json();
    all.remove("r");
    all.remove("lora_alpha");
    all
}

/// LoRA on the large layers.
pub fn build(map: &Map<String, Value>) -> Result<Box<dyn Method>, AdapterError> {
    let lora = LoraMethod::from_json(map)?;
    Ok(Box::new(SllLoraMethod::new(Arc::new(lora))))
}
