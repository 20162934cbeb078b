//! PiSSA and OLoRA against what PEFT makes of them when it converts them to LoRA.

use burn::tensor::FloatDType;
use peft_lowrank::LoraMethod;
use peft_run::core::{
    AttachOptions, HostTensor, HostTensorExt, Method, adapter_tensors, attach,
    format::{AdapterConfig, AdapterFile, Checkpoint, TargetModules, TargetSpec},
    load_adapter, read_adapter, save_adapter,
};
use peft_run::verify;
use serde_json::Value;

use crate::common::*;

/// Cases, and whether their starts are unique but for signs: those of randomised singular vectors are
/// not.
const CASES: [(&str, bool); 3] = [
    ("pissa_converted", true),
    ("pissa_niter_rslora_converted", false),
    ("olora_converted", true),
];

fn method(case: &str) -> LoraMethod {
    let expected = json(&format!("adapters/{case}/expected.json"));
    let Value::Object(settings) = &expected["start"] else {
        panic!("{case} does not say how it started")
    };
    LoraMethod::from_json(settings).unwrap()
}

#[test]
fn converted_files_are_restored_as_what_they_were() {
    let device = cpu();
    for (case, _) in CASES {
        let method = method(case);
        let dir = goldens().join("adapters").join(case);
        let config = AdapterConfig::read(&dir).unwrap();
        let adapter = read_adapter(&dir, config.clone(), &method).unwrap();
        let base = model("bert", FloatDType::F64, &device);
        let names = base.names();
        let (adapted, report) = load_adapter(base, &adapter, &method, &names, &device).unwrap();
        // What is trained is half of what is there.
        let rank = method.settings().r;
        assert_eq!(report.adapter_parameters, 4 * rank * (32 + 32), "{case}");
        let expected = json(&format!("adapters/{case}/expected.json"));
        let wanted = flat(&expected["logits_f64"]);
        assert_close(case, &logits(&adapted, "bert", &device), &wanted, 1e-11);

        let base = model("bert", FloatDType::F32, &device);
        let (adapted, _) = load_adapter(base, &adapter, &method, &names, &device).unwrap();
        let out = tempfile::tempdir().unwrap();
        save_adapter(&adapted, out.path(), &config, &method, &names).unwrap();
        let [old, new] = [dir.as_path(), out.path()].map(|dir| AdapterFile::read(dir).unwrap());
        assert_eq!(old.tensors.len(), new.tensors.len(), "{case}");
        for (key, tensor) in &old.tensors {
            assert_eq!(tensor, &new.tensors[key], "{case}: {key}");
        }
        // The settings that a file of ours has are those that PEFT's conversion writes.
        for (key, value) in method.config() {
            let theirs = &config.fields()[&key];
            match (value.as_f64(), theirs.as_f64()) {
                (Some(ours), Some(theirs)) => {
                    assert!((ours / theirs - 1.0).abs() < 1e-12 || ours == theirs)
                }
                _ => assert_eq!(&value, theirs, "{case}: {key}"),
            }
        }
    }
}

/// The product of the second halves of a file's factors, `[out, in]`: what the adapter started at,
/// negated.
fn start(a: &HostTensor, b: &HostTensor) -> Vec<f64> {
    let floats = |tensor: &HostTensor| -> Vec<f64> {
        let data = tensor.to_float("factor", FloatDType::F64).unwrap();
        data.iter::<f64>().collect()
    };
    let (rank, inputs, outputs) = (a.shape[0], a.shape[1], b.shape[0]);
    let (a, b) = (floats(a), floats(b));
    let mut product = vec![0.0; outputs * inputs];
    for o in 0..outputs {
        for r in rank / 2..rank {
            for i in 0..inputs {
                product[o * inputs + i] += b[o * rank + r] * a[r * inputs + i];
            }
        }
    }
    product
}

#[test]
fn adapters_start_where_those_of_peft_do() {
    let device = cpu();
    let weights = Checkpoint::open(&goldens().join("models/bert/model.safetensors")).unwrap();
    for (case, unique) in CASES {
        let method = method(case);
        let dir = goldens().join("adapters").join(case);
        let config = AdapterConfig::read(&dir).unwrap();
        let adapter = read_adapter(&dir, config, &method).unwrap();
        let base = model("bert", FloatDType::F32, &device);
        let names = base.names();
        let plain = logits(&base, "bert", &device);
        let options = AttachOptions {
            targets: &TargetSpec::new(TargetModules::List(vec!["query".into(), "value".into()])),
            names: &names,
            modules_to_save: &[],
            heads: &[],
            seed: 5,
            gradients: None,
        };
        let (fresh, _) = attach(base, &method, &options).unwrap();
        assert_eq!(logits(&fresh, "bert", &device), plain, "{case}");
        let tensors = adapter_tensors(&fresh, &method, &names, &[]).unwrap();
        for (module, theirs) in &adapter.modules {
            let part = |suffix: &str| &tensors[&format!("base_model.model.{module}.{suffix}")];
            let [ours, theirs] = [
                start(part("lora_A.weight"), part("lora_B.weight")),
                start(&theirs["lora_A.weight"], &theirs["lora_B.weight"]),
            ];
            let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let gap: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a - b).collect();
            let distance = norm(&gap) / norm(&theirs);
            assert!(!unique || distance < 1e-5, "{case}, {module}: {distance:e}");
            // What is left of the weight, in `f32` that PEFT computes in: no more than with PEFT.
            let view = weights.view(&format!("{module}.weight")).unwrap();
            let weight = view.bytes.chunks_exact(4);
            let weight: Vec<f64> = weight
                .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
                .collect();
            let scale = method.scale_of(module).unwrap();
            let left = |start: &[f64]| {
                let pairs = weight.iter().zip(start);
                norm(&pairs.map(|(w, s)| w + scale * s).collect::<Vec<_>>())
            };
            let (ours, theirs) = (left(&ours), left(&theirs));
            assert!(
                ours <= theirs * (1.0 + 1e-5),
                "{case}, {module}: {ours} {theirs}"
            );
            assert!(ours < 0.999 * norm(&weight), "{case}, {module}: {ours}");
        }
    }
}

#[test]
fn factors_of_a_changed_base_are_refused() {
    let device = cpu();
    let dir = goldens().join("adapters/lora_qv");
    let mut config = AdapterConfig::read(&dir).unwrap();
    config.set("init_lora_weights", "pissa").unwrap();
    let method = LoraMethod::from_json(config.fields()).unwrap();
    let adapter = read_adapter(&dir, config, &method).unwrap();
    let base = model("bert", FloatDType::F32, &device);
    let names = base.names();
    let error = load_adapter(base, &adapter, &method, &names, &device).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("path_initial_model_for_weight_conversion"),
        "{text}"
    );
    // Verification says the same, once, instead of a shape a tensor.
    let folder = tempfile::tempdir().unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(dir.join(weights), folder.path().join(weights)).unwrap();
    let mut config = AdapterConfig::read(&dir).unwrap();
    config.set("init_lora_weights", "pissa").unwrap();
    config.write(folder.path()).unwrap();
    let report = verify(&goldens().join("models/bert"), folder.path(), &device).unwrap();
    let [problem] = report.problems.as_slice() else {
        panic!("{:?}", report.problems);
    };
    assert!(format!("{problem:?}").contains(&text), "{problem:?}");
}
