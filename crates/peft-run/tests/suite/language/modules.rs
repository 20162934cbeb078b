//! Bottleneck modules in the slots of a BERT and of a Llama.

use std::path::Path;

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{FloatDType, Gradients},
};
use peft_run::{
    AdapterFormat, ConvertOptions, convert,
    core::{
        AdapterChoice, AdapterContext, ParamPath,
        format::{AdapterConfig, Checkpoint, HostTensor},
        load_adapter_as, read_adapter, set_active,
    },
    methods,
    models::{Model, Network},
};
use peft_train::{NextToken, Objective};
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

/// Write the modules beside the feed-forward parts of a case: the folder.
fn write_beside(case: &str, dir: &Path) -> std::path::PathBuf {
    let file = goldens()
        .join("additive")
        .join(format!("{case}.safetensors"));
    let file = Checkpoint::open(&file).unwrap();
    let cases = golden("additive/cases.json");
    let settings = &cases["cases"][case];
    let blocks = match settings["base"] == "llama_tiny" {
        true => "model.layers",
        false => "bert.encoder.layer",
    };
    let activation = match settings["activation"].as_str().unwrap() {
        "silu" => "swish",
        other => other,
    };
    let mut tensors = Vec::new();
    for (place, _) in settings["places"].as_object().unwrap() {
        let part = match place.as_str() {
            "feed_forward" => String::new(),
            part => format!("{part}."),
        };
        for layer in 0..2 {
            for [theirs, ours] in TENSORS {
                let tensor = owned(&file, &format!("{place}.{layer}.{theirs}"));
                let slot = format!("{blocks}.{layer}.beside_feed_forward");
                tensors.push((format!("{slot}.{part}{ours}"), tensor));
            }
        }
    }
    let places = &settings["places"];
    let mut config = json!({
        "target_modules": ["beside_feed_forward"], "non_linearity": activation, "scaling": settings["scale"],
    });
    let more = match places["feed_forward"].as_f64() {
        Some(size) => json!({ "peft_type": "PARALLEL", "reduction_factor": 16.0 / (size + 0.5) }),
        None => json!({
            "peft_type": "SERIAL_PARALLEL", "serial_size": places["serial"], "parallel_size": places["parallel"],
        }),
    };
    let config = config.as_object_mut().unwrap();
    config.extend(more.as_object().unwrap().clone());
    let folder = dir.join(case);
    write_adapter(&folder, &Value::Object(config.clone()), tensors);
    folder
}

#[test]
fn modules_beside_feed_forward_parts_give_the_references_logits_and_gradients() {
    let (dir, texts) = (tempfile::tempdir().unwrap(), texts());
    for case in ["joint", "joint_llama", "parallel_llama"] {
        let folder = write_beside(case, dir.path());
        let file = goldens()
            .join("additive")
            .join(format!("{case}.safetensors"));
        let file = Checkpoint::open(&file).unwrap();
        let wanted = doubles(&file, "logits_f64");
        let device = cpu();
        for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 5e-5)] {
            let found = match case {
                "joint" => {
                    let model = crate::common::model("bert", dtype, &device);
                    let config = AdapterConfig::read(&folder).unwrap();
                    let method = methods::from_config(&config).unwrap();
                    let adapter = read_adapter(&folder, config, method.as_ref()).unwrap();
                    let (names, method) = (model.names(), method.as_ref());
                    let loaded =
                        peft_run::core::load_adapter(model, &adapter, method, &names, &device);
                    crate::common::logits(&loaded.unwrap().0, "bert", &device)
                }
                _ => {
                    let base = load(&goldens().join("llama_tiny"), dtype, &device);
                    texts.logits(&adapted(base, &folder, &device), &device)
                }
            };
            assert_close(case, &found, &wanted, tolerance);
        }
        if case == "joint" {
            continue;
        }
        let device = device.autodiff();
        let base = load(&goldens().join("llama_tiny"), FloatDType::F64, &device);
        let model = adapted(base, &folder, &device);
        let output = model.run(&texts.batch(&model, &device), &AdapterContext::inference());
        let loss = NextToken.loss(output, texts.targets(&device));
        let read = gradients_of(&model, &loss.backward());
        assert_eq!(
            read.len(),
            8 * golden("additive/cases.json")["cases"][case]["places"]
                .as_object()
                .unwrap()
                .len()
        );
        for (path, shape, found) in read {
            let layer = if path.contains("layers.0.") { 0 } else { 1 };
            let (_, field) = path.split_once(".adapter.").unwrap();
            let (place, field) = field.split_once('.').unwrap_or(("feed_forward", field));
            let [theirs, _] = TENSORS[FIELDS.iter().position(|one| *one == field).unwrap()];
            let wanted = doubles(&file, &format!("gradient_f64.{place}.{layer}.{theirs}"));
            // Files have weights as `[out, in]`.
            let wanted: Vec<f64> = match shape.as_slice() {
                [rows, columns] => (0..rows * columns)
                    .map(|at| wanted[(at % columns) * rows + at / columns])
                    .collect(),
                _ => wanted,
            };
            assert_close(&path, &found, &wanted, 1e-10);
        }
    }
}

const FIELDS: [&str; 4] = ["down", "down_bias", "up", "up_bias"];

/// Gradients of the fields of adapters, by path, with their shapes.
fn gradients_of(model: &Model, gradients: &Gradients) -> Vec<(String, Vec<usize>, Vec<f64>)> {
    struct Read<'a>(
        ParamPath,
        &'a Gradients,
        Vec<(String, Vec<usize>, Vec<f64>)>,
    );
    impl ModuleVisitor for Read<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.in_adapter() {
                let gradient = param.base().grad(self.1).expect("every field is trained");
                let shape = gradient.dims().to_vec();
                self.2
                    .push((self.0.text(), shape, crate::common::values(gradient)));
            }
        }
    }
    let mut read = Read(ParamPath::default(), gradients, Vec::new());
    model.visit(&mut read);
    read.2
}

#[test]
fn folders_of_adapterhub_are_read() {
    let (device, texts) = (cpu(), texts());
    for case in [
        "bert_seq",
        "bert_double",
        "bert_par",
        "llama_seq",
        "llama_double",
        "llama_par",
    ] {
        let folder = goldens().join("adapterhub").join(case);
        let expected = golden(&format!("adapterhub/{case}/expected.json"));
        let wanted = crate::common::flat(&expected["logits_f64"]);
        let found = match expected["base"] == "llama_tiny" {
            true => {
                let base = load(&goldens().join("llama_tiny"), FloatDType::F64, &device);
                texts.logits(&adapted(base, &folder, &device), &device)
            }
            false => {
                let model = crate::common::model("bert", FloatDType::F64, &device);
                let config = AdapterConfig::read(&folder).unwrap();
                let method = methods::from_config(&config).unwrap();
                let adapter = read_adapter(&folder, config, method.as_ref()).unwrap();
                let (names, method) = (model.names(), method.as_ref());
                let loaded = peft_run::core::load_adapter(model, &adapter, method, &names, &device);
                crate::common::logits(&loaded.unwrap().0, "bert", &device)
            }
        };
        // The library computes norms in single precision.
        assert_close(case, &found, &wanted, 1e-5);
    }
    // A module that reads the sum with the residual is none of ours.
    let folder = goldens().join("adapterhub/llama_sum");
    let error = AdapterConfig::read(&folder).unwrap_err().to_string();
    assert!(error.contains("original_ln_before"), "{error}");
}

/// A folder of AdapterHub, converted into one, has the same tensors under the new name and means the same.
#[test]
fn folders_of_adapterhub_are_written() {
    let device = cpu();
    let dir = tempfile::tempdir().unwrap();
    for case in [
        "bert_seq",
        "bert_double",
        "bert_par",
        "llama_seq",
        "llama_double",
        "llama_par",
    ] {
        let folder = goldens().join("adapterhub").join(case);
        let expected = golden(&format!("adapterhub/{case}/expected.json"));
        let output = dir.path().join(case);
        let report = convert(&ConvertOptions {
            model: &goldens().join(expected["base"].as_str().unwrap()),
            adapter: &folder,
            output: &output,
            to: AdapterFormat::AdapterHub,
            any_base: true,
            overwrite: false,
            device: &device,
        })
        .unwrap();
        assert_eq!(report.relative_error, 0.0, "{case}");
        let json = |folder: &Path| -> Value {
            let text = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let (theirs, ours) = (json(&folder), json(&output));
        for key in [
            "hidden_size",
            "model_class",
            "model_name",
            "model_type",
            "version",
        ] {
            assert_eq!(ours[key], theirs[key], "{case}: {key}");
        }
        let written = ours["config"].as_object().unwrap();
        for (key, value) in written {
            // Where norms come first the two mean the same, and files of the library have either.
            if key == "residual_before_ln" || key == "init_weights" {
                continue;
            }
            let theirs = &theirs["config"][key];
            let same = match (value.as_f64(), theirs.as_f64()) {
                (Some(a), Some(b)) => a == b,
                _ => value == theirs,
            };
            assert!(same, "{case}: {key}: {value} and {theirs}");
        }
        let tensors = |folder: &Path| {
            let config = AdapterConfig::read(folder).unwrap();
            let method = methods::from_config(&config).unwrap();
            read_adapter(folder, config, method.as_ref())
                .unwrap()
                .modules
        };
        assert_eq!(tensors(&folder), tensors(&output), "{case}");
        let file = Checkpoint::open(&output.join("adapter.safetensors")).unwrap();
        assert!(
            file.names().all(|name| name.contains(".default.adapter_")),
            "{case}"
        );
    }
}
