//! Adapters written as plain LoRA.

use std::path::Path;

use burn::tensor::FloatDType;
use peft_run::{
    AdapterFormat, BaseOptions, ConvertOptions, OpenOptions, RunError, convert,
    core::{
        format::{AdapterConfig, AdapterFile},
        load_adapter, read_adapter,
    },
    data::{Dataset, LoadOptions, Task},
    evaluate, methods, open, train,
};

use crate::common::*;
use crate::tiny::{config, workspace};

fn loss(model: &Path, adapter: &Path, data: &Path) -> f64 {
    let device = cpu();
    let adapted = open(&OpenOptions {
        model,
        adapter: Some(adapter),
        any_base: false,
        task: None,
        base: BaseOptions::default(),
        device: &device,
    })
    .unwrap();
    let labels = adapted.task.label_map().unwrap();
    let load = LoadOptions {
        labels: labels.as_ref(),
        ..LoadOptions::new(Task::Classify, 24)
    };
    let (rows, _) = Dataset::load(data, &load, &adapted.tokenizer).unwrap();
    let found = evaluate(
        &adapted.model,
        &rows,
        adapted.task.objective().as_ref(),
        7,
        &device,
    )
    .unwrap();
    found.loss
}

#[test]
fn a_trained_deep_adapter_becomes_lora_of_the_same_rank() {
    let (dir, model, data) = workspace();
    let (output, plain) = (dir.path().join("out"), dir.path().join("lora"));
    let mut config = config(&model, &data, &output);
    config.method = "deep_lora".into();
    config.method_config.insert("r".into(), 6.into());
    train(&config, &mut ()).unwrap();

    let device = cpu();
    let options = ConvertOptions {
        model: &model,
        adapter: &output,
        output: &plain,
        to: AdapterFormat::Lora,
        any_base: false,
        overwrite: false,
        device: &device,
    };
    let report = convert(&options).unwrap();
    assert_eq!((report.rank, report.saved), (6, 2));
    assert!(report.relative_error < 1e-6, "{report:?}");
    let config = AdapterConfig::read(&plain).unwrap();
    assert_eq!(config.peft_type(), "LORA");
    let file = AdapterFile::read(&plain).unwrap();
    assert_eq!(file.tensors.len(), 2 * report.modules + report.saved);
    let trained = |name: &&String| name.ends_with("lora_B.weight");
    for name in file.tensors.keys().filter(trained) {
        assert!(file.tensors[name].bytes.iter().any(|byte| *byte != 0));
    }
    let [before, after] = [&output, &plain].map(|adapter| loss(&model, adapter, &data));
    assert!((before - after).abs() < 1e-6, "{before} {after}");

    // Neither over itself nor over another adapter, and over its own only when asked for.
    let error = convert(&options).unwrap_err().to_string();
    assert!(error.contains("add `overwrite`"), "{error}");
    let again = ConvertOptions {
        overwrite: true,
        ..options
    };
    convert(&again).unwrap();
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("adapter_config.json"), "{}").unwrap();
    let over = ConvertOptions {
        output: &taken,
        ..again
    };
    let error = convert(&over).unwrap_err().to_string();
    assert!(error.contains("`adapter_config.json`"), "{error}");
    let itself = ConvertOptions {
        output: &output,
        ..options
    };
    let error = convert(&itself).unwrap_err().to_string();
    assert!(error.contains("own folder"), "{error}");
}

#[test]
fn ranks_and_scales_of_single_modules_survive() {
    let device = cpu();
    for case in ["all_linear_patterns", "rslora_qv", "modules_to_save"] {
        let adapter = goldens().join("adapters").join(case);
        let expected = json(&format!("adapters/{case}/expected.json"));
        let dir = tempfile::tempdir().unwrap();
        let report = convert(&ConvertOptions {
            model: &goldens().join("models/bert"),
            adapter: &adapter,
            output: dir.path(),
            to: AdapterFormat::Lora,
            any_base: false,
            overwrite: false,
            device: &device,
        })
        .unwrap();
        assert!(report.relative_error < 1e-6, "{case}: {report:?}");
        let config = AdapterConfig::read(dir.path()).unwrap();
        let method = methods::from_config(&config).unwrap();
        let loaded = read_adapter(dir.path(), config, method.as_ref()).unwrap();
        let model = model("bert", FloatDType::F32, &device);
        let names = model.names();
        let (model, _) = load_adapter(model, &loaded, method.as_ref(), &names, &device).unwrap();
        let found = logits(&model, expected["inputs"].as_str().unwrap(), &device);
        assert_close(case, &found, &flat(&expected["logits_f64"]), 1e-5);
    }
}

#[test]
fn an_update_without_a_low_rank_form_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("lora");
    let device = cpu();
    let error = convert(&ConvertOptions {
        model: &goldens().join("models/bert"),
        adapter: &goldens().join("adapters/c3a_qv"),
        output: &output,
        to: AdapterFormat::Lora,
        any_base: false,
        overwrite: false,
        device: &device,
    })
    .unwrap_err();
    assert!(matches!(error, RunError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("peft merge"), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_bottleneck_and_its_head_go_to_adapterhub_and_back() {
    let (dir, model, data) = workspace();
    let (output, theirs) = (dir.path().join("out"), dir.path().join("theirs"));
    let mut config = config(&model, &data, &output);
    config.method = "bottleneck".into();
    config
        .method_config
        .insert("reduction_factor".into(), 5.0.into());
    train(&config, &mut ()).unwrap();
    let device = cpu();
    let to_adapterhub = |adapter, output| {
        convert(&ConvertOptions {
            model: &model,
            adapter,
            output,
            to: AdapterFormat::AdapterHub,
            any_base: false,
            overwrite: false,
            device: &device,
        })
    };
    let report = to_adapterhub(&output, &theirs).unwrap();
    assert_eq!((report.relative_error, report.saved), (0.0, 2));
    let text = std::fs::read_to_string(theirs.join("head_config.json")).unwrap();
    let head: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(head["num_labels"], 2);
    assert_eq!(head["model_class"], "BertForSequenceClassification");
    assert_eq!(loss(&model, &output, &data), loss(&model, &theirs, &data));
    // A parallel module is one thing beside and after a part that no norm goes before.
    let (output, theirs) = (dir.path().join("parallel"), dir.path().join("par_bn"));
    config.method = "parallel".into();
    config.output = output.clone();
    train(&config, &mut ()).unwrap();
    to_adapterhub(&output, &theirs).unwrap();
    let text = std::fs::read_to_string(theirs.join("adapter_config.json")).unwrap();
    assert!(text.contains("\"is_parallel\": true"), "{text}");
    assert_eq!(loss(&model, &output, &data), loss(&model, &theirs, &data));
    // Methods of other modules are refused.
    let lora = dir.path().join("lora");
    train(&crate::tiny::config(&model, &data, &lora), &mut ()).unwrap();
    let error = to_adapterhub(&lora, &dir.path().join("no"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("bottleneck modules"), "{error}");
    assert!(!dir.path().join("no").exists());
}
