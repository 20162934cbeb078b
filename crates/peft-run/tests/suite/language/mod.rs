//! Models with a language head, of a checkpoint of which HF transformers computed the same.

mod additive_runs;
mod causal;
mod gguf;
mod hybrid;
mod interop;
mod mamba;
mod modules;
mod options;
mod prompts;
mod quantised;
mod runs;
mod sdlora;
mod smollm2;
mod state_families;
mod state_theory;

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use peft_run::{
    Objective,
    core::{
        AdapterContext, Output,
        format::{AdapterConfig, AdapterFile, Checkpoint, HostTensor},
        load_adapter, read_adapter,
    },
    methods,
    models::{HeadKind, Model, ModelFolder, Network, PackedBatch},
};
use peft_train::{NextToken, Targets, Truth};
use serde_json::Value;

use crate::common::*;

/// Texts as tokens, with flags of those to be predicted.
struct Texts {
    ids: Vec<u32>,
    starts: Vec<usize>,
    trained: Vec<bool>,
}

impl Texts {
    /// Of sequences with the flags of their tokens; of plain ones all but the first are to be predicted.
    fn of<'a>(sequences: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut all = Self {
            ids: Vec::new(),
            starts: vec![0],
            trained: Vec::new(),
        };
        for sequence in sequences {
            let plain = sequence.is_array();
            let ids = if plain { sequence } else { &sequence["ids"] };
            let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
            let trained: Vec<bool> = match plain {
                true => (0..ids.len()).map(|place| place > 0).collect(),
                false => serde_json::from_value(sequence["trained"].clone()).unwrap(),
            };
            all.ids.extend(ids);
            all.starts.push(all.ids.len());
            all.trained.extend(trained);
        }
        all
    }

    fn truth(&self) -> Truth<'_> {
        Truth::Tokens {
            ids: &self.ids,
            starts: &self.starts,
            trained: &self.trained,
        }
    }

    fn batch(&self, model: &Model, device: &Device) -> PackedBatch {
        let description = model.description();
        PackedBatch::new(description, &self.ids, &[], &self.starts, device).unwrap()
    }

    fn targets(&self, device: &Device) -> Targets {
        NextToken.targets(&self.truth(), device).unwrap()
    }

    fn logits(&self, model: &Model, device: &Device) -> Vec<f64> {
        let batch = self.batch(model, device);
        match model.run(&batch, &AdapterContext::inference()) {
            Output::Tokens { hidden, head } => values(head.logits(hidden)),
            Output::Scores(_) => panic!("a head of sequences"),
        }
    }

    fn loss(&self, model: &Model, device: &Device) -> f64 {
        let output = model.run(&self.batch(model, device), &AdapterContext::inference());
        let loss = NextToken.loss(output, self.targets(device));
        loss.into_scalar::<f64>()
    }
}

fn load(folder: &Path, dtype: FloatDType, device: &Device) -> Model {
    let mut folder = ModelFolder::open(folder).unwrap();
    folder.set_dtype(dtype);
    Model::load(&folder, HeadKind::Language, 0, device)
        .unwrap()
        .0
}

/// The model with the adapter of a folder, beside those that it has.
fn adapted(model: Model, dir: &Path, device: &Device) -> Model {
    let config = AdapterConfig::read(dir).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(dir, config, method.as_ref()).unwrap();
    let names = model.description().names();
    let loaded = load_adapter(model, &adapter, method.as_ref(), &names, device);
    let (model, report) = loaded.unwrap();
    assert_eq!(report.targets.len(), adapter.modules.len());
    model
}

/// Write an adapter folder of a configuration and tensors by the checkpoint's names.
fn write_adapter(dir: &Path, config: &Value, tensors: Vec<(String, HostTensor)>) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let named = |(name, tensor)| (format!("base_model.model.{name}"), tensor);
    let file = AdapterFile::new(tensors.into_iter().map(named).collect());
    file.write(&dir.join("adapter_model.safetensors")).unwrap();
}

/// The values of a tensor of double precision.
fn doubles(file: &Checkpoint, name: &str) -> Vec<f64> {
    let view = file.view(name).unwrap();
    let bytes = view.bytes.chunks_exact(8);
    bytes
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

fn owned(file: &Checkpoint, name: &str) -> HostTensor {
    let view = file.view(name).unwrap();
    HostTensor {
        dtype: view.dtype,
        shape: view.shape.clone(),
        bytes: view.bytes.to_vec(),
    }
}
