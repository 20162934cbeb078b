//! Bottleneck modules in the slots of a BERT and of a Llama.

use std::path::Path;

use burn::tensor::FloatDType;
use peft_run::{
    core::{
        AdapterChoice,
        format::{AdapterConfig, Checkpoint, HostTensor},
        load_adapter_as, read_adapter, set_active,
    },
    methods,
    models::{Model, Network},
};
use serde_json::{Value, json};

use super::{Texts, adapted, doubles, load, owned, write_adapter};
use crate::common::{assert_close, cpu, goldens, json as golden};

const TENSORS: [[&str; 2]; 4] = [
    ["down.weight", "adapter_down.weight"],
    ["down.bias", "adapter_down.bias"],
    ["up.weight", "adapter_up.weight"],
    ["up.bias", "adapter_up.bias"],
];

/// A module's settings beside its size, and the blocks' names.
fn settings(case: &str) -> (Value, &'static str) {
    let bert = "bert.encoder.layer";
    let llama = "model.layers";
    match case {
        "pfeiffer" | "pfeiffer_small" => (json!({ "reads": "normed" }), bert),
        "houlsby" => (json!({ "reads": "plain", "non_linearity": "swish" }), bert),
        "parallel" => (json!({ "reads": "residual", "scaling": 4.0 }), bert),
        "serial" => (json!({ "reads": "plain" }), llama),
        "serial_small" => (
            json!({ "reads": "plain", "non_linearity": "swish", "scaling": 0.5 }),
            llama,
        ),
        other => panic!("{other}"),
    }
}

/// Write the modules of a case, a folder for each place: their sizes differ. The folders.
fn write_case(case: &str, dir: &Path) -> Vec<std::path::PathBuf> {
    let file = goldens()
        .join("additive")
        .join(format!("{case}.safetensors"));
    let file = Checkpoint::open(&file).unwrap();
    let places = golden("additive/cases.json")["cases"][case]["places"].clone();
    let (own, blocks) = settings(case);
    let places = places.as_object().unwrap().iter();
    let write = |(place, size): (&String, &Value)| {
        let slot = format!("after_{place}");
        let mut tensors: Vec<(String, HostTensor)> = Vec::new();
        for layer in 0..2 {
            for [theirs, ours] in TENSORS {
                let tensor = owned(&file, &format!("{place}.{layer}.{theirs}"));
                tensors.push((format!("{blocks}.{layer}.{slot}.{ours}"), tensor));
            }
        }
        let width = file.info(&format!("{place}.0.up.bias")).unwrap().shape[0];
        // In the middle of what comes to that size.
        let factor = width as f64 / (size.as_f64().unwrap() + 0.5);
        let mut config = json!({
            "peft_type": "BOTTLENECK", "target_modules": [slot], "reduction_factor": factor,
        });
        let config = config.as_object_mut().unwrap();
        config.extend(own.as_object().unwrap().clone());
        let folder = dir.join(case).join(place);
        write_adapter(&folder, &Value::Object(config.clone()), tensors);
        folder
    };
    places.map(write).collect()
}

#[test]
fn modules_in_a_bert_give_the_references_logits() {
    let (dir, device) = (tempfile::tempdir().unwrap(), cpu());
    for case in ["pfeiffer", "pfeiffer_small", "houlsby", "parallel"] {
        let folders = write_case(case, dir.path());
        let file = goldens()
            .join("additive")
            .join(format!("{case}.safetensors"));
        let wanted = doubles(&Checkpoint::open(&file).unwrap(), "logits_f64");
        for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 2e-5)] {
            let mut model = crate::common::model("bert", dtype, &device);
            for folder in &folders {
                let config = AdapterConfig::read(folder).unwrap();
                let method = methods::from_config(&config).unwrap();
                let adapter = read_adapter(folder, config, method.as_ref()).unwrap();
                let names = model.names();
                let loaded =
                    peft_run::core::load_adapter(model, &adapter, method.as_ref(), &names, &device);
                model = loaded.unwrap().0;
            }
            let found = crate::common::logits(&model, "bert", &device);
            assert_close(case, &found, &wanted, tolerance);
        }
    }
}

fn texts() -> Texts {
    let cases = golden("causal/cases.json");
    Texts::of(cases["sequences"].as_array().unwrap())
}

#[test]
fn modules_in_a_llama_give_the_references_logits() {
    let (dir, device, texts) = (tempfile::tempdir().unwrap(), cpu(), texts());
    for case in ["serial", "serial_small"] {
        let folders = write_case(case, dir.path());
        let file = goldens()
            .join("additive")
            .join(format!("{case}.safetensors"));
        let wanted = doubles(&Checkpoint::open(&file).unwrap(), "logits_f64");
        for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 2e-5)] {
            let base = load(&goldens().join("llama_tiny"), dtype, &device);
            let model = adapted(base, &folders[0], &device);
            assert_close(case, &texts.logits(&model, &device), &wanted, tolerance);
        }
    }
}

#[test]
fn two_modules_of_a_set_are_switched_without_a_trace() {
    let (dir, device, texts) = (tempfile::tempdir().unwrap(), cpu(), texts());
    let folders = ["serial", "serial_small"].map(|case| write_case(case, dir.path()).remove(0));
    let base = || load(&goldens().join("llama_tiny"), FloatDType::F32, &device);
    let alone = folders
        .each_ref()
        .map(|folder| texts.logits(&adapted(base(), folder, &device), &device));
    let without = texts.logits(&base(), &device);
    assert_ne!(alone[0], alone[1]);
    let mut model: Model = base();
    for (name, folder) in ["large", "small"].iter().zip(&folders) {
        let config = AdapterConfig::read(folder).unwrap();
        let method = methods::from_config(&config).unwrap();
        let adapter = read_adapter(folder, config, method.as_ref()).unwrap();
        let names = model.description().names();
        let method = method.as_ref();
        let loaded = load_adapter_as(model, name, &adapter, method, &names, &device);
        model = loaded.unwrap().0;
    }
    let choose = |model: Model, choice: AdapterChoice| {
        let model = set_active(model, &choice).unwrap();
        let logits = texts.logits(&model, &device);
        (model, logits)
    };
    let (model, large) = choose(model, AdapterChoice::one("large"));
    assert_eq!(large, alone[0]);
    let (model, small) = choose(model, AdapterChoice::one("small"));
    assert_eq!(small, alone[1]);
    let (model, none) = choose(model, AdapterChoice::base());
    assert_eq!(none, without);
    let (_, large) = choose(model, AdapterChoice::one("large"));
    assert_eq!(large, alone[0]);
}
