//! The logits of a language model, for a driver that holds devices against each other.

use anyhow::{Result, bail};
use burn::tensor::Device;
use peft_run::{
    core::AdapterContext,
    models::{HeadKind, Model, ModelFolder, Network, Output, PackedBatch},
};
use serde_json::{Value, json};

use crate::protocol::Logits;

/// One row of logits for each token, row after row.
pub fn logits(command: &Logits, device: &Device) -> Result<Value> {
    let folder = ModelFolder::open(&command.model)?;
    let (model, _) = Model::load(&folder, HeadKind::Language, 0, device)?;
    let starts = [0, command.ids.len()];
    let batch = PackedBatch::new(model.description(), &command.ids, &[], &starts, device)?;
    let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference()) else {
        bail!(
            "{} does not predict the next token",
            command.model.display()
        );
    };
    let logits: Vec<f64> = head.logits(hidden).into_data().iter::<f64>().collect();
    Ok(json!({ "ok": true, "logits": logits }))
}
