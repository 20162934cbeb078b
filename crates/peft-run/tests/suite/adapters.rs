//! Adapters of HF PEFT, read, computed with, merged and written back.

use std::path::Path;

use burn::{module::Module, tensor::FloatDType};
use peft_run::{
    MergeOptions,
    core::{
        adapter_tensors,
        format::{AdapterConfig, AdapterFile, Checkpoint, Dtype},
        load_adapter, read_adapter, save_adapter, saved_parameters,
    },
    merge, methods,
    models::{HeadSpec, ModelFolder, SequenceModel},
    verify,
};

use crate::common::*;

fn cases() -> Vec<(String, serde_json::Value)> {
    let mut cases: Vec<_> = std::fs::read_dir(goldens().join("adapters"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            let expected = json(&format!("adapters/{name}/expected.json"));
            (name, expected)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 32, "{cases:?}");
    cases
}

fn base_of(expected: &serde_json::Value) -> String {
    expected["base"]
        .as_str()
        .unwrap()
        .strip_prefix("models/")
        .unwrap()
        .to_owned()
}

fn load(name: &str, base: &str, dtype: FloatDType) -> SequenceModel {
    let device = cpu();
    let dir = goldens().join("adapters").join(name);
    let config = AdapterConfig::read(&dir).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir, config, method.as_ref()).unwrap();
    let model = model(base, dtype, &device);
    let names = model.names();
    let (model, report) = load_adapter(model, &adapter, method.as_ref(), &names, &device).unwrap();
    assert_eq!(report.targets.len(), adapter.modules.len());
    model
}

#[test]
fn logits_match_peft_factored_and_dense() {
    let device = cpu();
    for (name, expected) in cases() {
        let (base, inputs) = (base_of(&expected), expected["inputs"].as_str().unwrap());
        // Some updates PEFT computes in single precision whatever the model's type.
        let exact = if expected["computed_in"] == "f32" {
            1e-5
        } else {
            1e-11
        };
        for (dtype, tolerance) in [(FloatDType::F32, 1e-5), (FloatDType::F64, exact)] {
            let adapted = load(&name, &base, dtype);
            let wanted = flat(&expected["logits_f64"]);
            let factored = logits(&adapted, inputs, &device);
            assert_close(&format!("{name} factored"), &factored, &wanted, tolerance);
            let dense = logits(&adapted.materialize(), inputs, &device);
            assert_close(&format!("{name} dense"), &dense, &wanted, tolerance);
        }
    }
}

#[test]
fn files_of_peft_are_written_back_key_by_key_and_byte_by_byte() {
    for (name, expected) in cases() {
        let dir = goldens().join("adapters").join(&name);
        let model = load(&name, &base_of(&expected), FloatDType::F32);
        let config = AdapterConfig::read(&dir).unwrap();
        let method = methods::from_config(&config).unwrap();
        let names = model.names();
        let out = tempfile::tempdir().unwrap();
        save_adapter(&model, out.path(), &config, method.as_ref(), &names).unwrap();
        let (mut old, new) = (
            AdapterFile::read(&dir).unwrap(),
            AdapterFile::read(out.path()).unwrap(),
        );
        // With `bias` all, PEFT has the head's bias twice, and the base's own besides.
        old.tensors.retain(|key, _| {
            !key.contains(".modules_to_save.") && !key.contains(".original_module.")
        });
        let keys = |file: &AdapterFile| {
            let mut keys: Vec<_> = file.tensors.keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&old), keys(&new), "{name}");
        for (key, tensor) in &old.tensors {
            assert_eq!(tensor, &new.tensors[key], "{name}: {key}");
        }
        let text = |path: &Path| std::fs::read_to_string(path.join("adapter_config.json")).unwrap();
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(parse(text(&dir)), parse(text(out.path())), "{name}");
        let full = saved_parameters(&model, None, &config, &names);
        let tensors = adapter_tensors(&model, method.as_ref(), &names, &full).unwrap();
        assert_eq!(tensors.len(), old.tensors.len());
    }
}

#[test]
fn merged_folders_compute_the_same() {
    let device = cpu();
    for (name, expected) in cases() {
        let base = base_of(&expected);
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("merged");
        let (model, adapter) = (
            goldens().join("models").join(&base),
            goldens().join("adapters").join(&name),
        );
        let report = merge(&MergeOptions::new(&model, &adapter, &folder, &device)).unwrap();
        assert_eq!(report.relative_error, 0.0, "{name}");
        assert!(report.merged > 0 && report.largest_change > 0.0);
        let head = HeadSpec {
            outputs: 3,
            seed: 2,
        };
        let opened = ModelFolder::open(&folder).unwrap();
        let (merged, _) = SequenceModel::load(&opened, &head, &device).unwrap();
        let inputs = expected["inputs"].as_str().unwrap();
        let wanted = flat(&expected["merged_logits_f64"]);
        assert_close(&name, &logits(&merged, inputs, &device), &wanted, 1e-5);
    }
}

#[test]
fn merging_into_half_precision_measures_what_rounding_costs() {
    let device = cpu();
    let adapter = goldens().join("adapters/lora_qv");
    for (base, smallest, largest) in [("bert_f16", 1e-5, 1e-3), ("bert_bf16", 1e-4, 1e-2)] {
        let out = tempfile::tempdir().unwrap();
        let base = goldens().join("models").join(base);
        let folder = out.path().join("m");
        let options = MergeOptions {
            allow_loss: true,
            ..MergeOptions::new(&base, &adapter, &folder, &device)
        };
        let report = merge(&options).unwrap();
        assert!(
            report.relative_error > smallest && report.relative_error < largest,
            "{report:?}"
        );
    }
}

#[test]
fn adapters_of_peft_pass_verification() {
    let device = cpu();
    for (name, expected) in cases() {
        let model = goldens().join("models").join(base_of(&expected));
        let adapter = goldens().join("adapters").join(&name);
        let report = verify(&model, &adapter, &device).unwrap();
        assert!(report.is_good(), "{name}: {:?}", report.problems);
        assert_eq!(report.base.same, None, "{name}");
        assert!(
            !report.modules.is_empty() && report.relative_change > 0.0,
            "{name}"
        );
        // The sum of the parts.
        let parts = report.modules.iter().map(|m| m.change.powi(2)).sum::<f64>();
        assert!((parts.sqrt() / report.change - 1.0).abs() < 1e-12, "{name}");
    }
}

#[test]
fn a_merge_that_loses_much_is_refused_unless_asked_for() {
    let device = cpu();
    let base = goldens().join("models/bert_bf16");
    let out = tempfile::tempdir().unwrap();
    let (adapter, folder) = (out.path().join("adapter"), out.path().join("m"));
    // A hundredth of the change, which eight bits of mantissa cannot hold.
    std::fs::create_dir(&adapter).unwrap();
    let whole = goldens().join("adapters/lora_qv");
    let weights = "adapter_model.safetensors";
    std::fs::copy(whole.join(weights), adapter.join(weights)).unwrap();
    let mut config = AdapterConfig::read(&whole).unwrap();
    config.set("lora_alpha", 0.08).unwrap();
    config.write(&adapter).unwrap();
    let careful = MergeOptions::new(&base, &adapter, &folder, &device);
    let verified = verify(&base, &adapter, &device).unwrap();
    assert!(verified.is_good() && verified.notes[0].contains("`dtype` f32"));
    let error = merge(&careful).unwrap_err().to_string();
    assert!(
        error.contains("`allow_loss`") && error.contains("`dtype` f32"),
        "{error}"
    );
    let measured = format!("{:.1} %", 100.0 * verified.lost_share);
    assert!(error.contains(&measured), "{error} has no {measured}");
    assert!(!folder.exists());

    let wide = merge(&MergeOptions {
        dtype: Some(Dtype::F32),
        ..careful
    });
    assert_eq!(wide.unwrap().lost_share, 0.0);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    for name in checkpoint.names() {
        let dtype = checkpoint.info(name).unwrap().dtype;
        assert!(
            matches!(dtype, Dtype::F32 | Dtype::I64),
            "{name}: {dtype:?}"
        );
    }
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let dtype = config.get("dtype").or(config.get("torch_dtype"));
    assert_eq!(dtype.unwrap(), "float32");

    let lossy = merge(&MergeOptions {
        allow_loss: true,
        overwrite: true,
        ..careful
    });
    let lossy = lossy.unwrap();
    assert!((lossy.lost_share_overall - verified.lost_share).abs() < 1e-12);
    assert!(lossy.lost_share >= lossy.lost_share_overall && lossy.lost_most.is_some());
}

/// Nothing is declared that the merged folder has no tensors for.
#[test]
fn an_adapter_without_a_head_makes_no_classifier_of_a_base_without_one() {
    let device = cpu();
    let out = tempfile::tempdir().unwrap();
    let (base, adapter) = (
        goldens().join("models/bert_base"),
        out.path().join("adapter"),
    );
    std::fs::create_dir(&adapter).unwrap();
    let whole = AdapterFile::read(&goldens().join("adapters/lora_qv")).unwrap();
    let mut headless = whole.clone();
    headless.tensors.retain(|name, _| name.contains("lora_"));
    headless
        .write(&adapter.join("adapter_model.safetensors"))
        .unwrap();
    let mut config = AdapterConfig::read(&goldens().join("adapters/lora_qv")).unwrap();
    config
        .set("modules_to_save", serde_json::Value::Null)
        .unwrap();
    config.write(&adapter).unwrap();
    let task = r#"{"task": "classify", "labels": ["a", "b", "c"], "max_length": 32}"#;
    std::fs::write(adapter.join("task.json"), task).unwrap();
    let merged = out.path().join("merged");
    merge(&MergeOptions::new(&base, &adapter, &merged, &device)).unwrap();
    let read = |folder: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    let (before, after) = (read(&base), read(&merged));
    for key in ["architectures", "id2label", "problem_type"] {
        assert_eq!(after.get(key), before.get(key), "{key}");
    }
}

#[test]
fn merging_replaces_what_it_wrote_when_asked_for_and_nothing_else() {
    let device = cpu();
    let out = tempfile::tempdir().unwrap();
    let (base, adapter) = (
        goldens().join("models/bert"),
        goldens().join("adapters/lora_qv"),
    );
    let target = out.path().join("merged");
    let careful = MergeOptions::new(&base, &adapter, &target, &device);
    let again = MergeOptions {
        overwrite: true,
        ..careful
    };
    merge(&careful).unwrap();
    let error = merge(&careful).unwrap_err().to_string();
    assert!(error.contains("add `overwrite`"), "{error}");
    merge(&again).unwrap();
    // Another model, which no merge wrote.
    let model = out.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(base.join("config.json"), model.join("config.json")).unwrap();
    let over = MergeOptions {
        output: &model,
        ..again
    };
    let error = merge(&over).unwrap_err().to_string();
    assert!(error.contains("`config.json`"), "{error}");
    std::fs::write(target.join("thesis.txt"), "mine").unwrap();
    let error = merge(&again).unwrap_err().to_string();
    assert!(error.contains("thesis.txt"), "{error}");
    assert_eq!(
        std::fs::read_to_string(target.join("thesis.txt")).unwrap(),
        "mine"
    );
    // A broken adapter leaves no folder behind.
    let broken = out.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::copy(
        adapter.join("adapter_config.json"),
        broken.join("adapter_config.json"),
    )
    .unwrap();
    let target = out.path().join("none");
    assert!(merge(&MergeOptions::new(&base, &broken, &target, &device)).is_err());
    assert!(!target.exists());
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let device = cpu();
    let dir = goldens().join("adapters/lora_qv");
    let config = AdapterConfig::read(&dir).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir, config, method.as_ref()).unwrap();
    let other = model("distilbert", FloatDType::F32, &device);
    let names = other.names();
    let error = load_adapter(other, &adapter, method.as_ref(), &names, &device).unwrap_err();
    assert!(
        error.to_string().contains("no place in this model"),
        "{error}"
    );
}
