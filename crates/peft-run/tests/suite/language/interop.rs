//! Adapters of MLX-LM and llama.cpp, against what those programs read, write and compute.

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use peft_run::{
    AdapterFormat, ConvertOptions, ConvertReport, RunError, convert,
    core::format::{AdapterConfig, Dtype, GgufFile, SafetensorsWriter, TensorSpec},
    models::{HeadKind, ModelFolder},
};
use serde_json::Value;

use super::{Texts, adapted, load};
use crate::common::*;

fn converted(
    to: AdapterFormat,
    model: &Path,
    adapter: &Path,
    output: &Path,
    device: &Device,
) -> Result<ConvertReport, RunError> {
    convert(&ConvertOptions {
        model,
        adapter,
        output,
        to,
        any_base: false,
        overwrite: false,
        device,
    })
}

fn texts() -> Texts {
    let cases = json("causal/cases.json");
    let sequences: Vec<Value> = cases["sequences"].as_array().unwrap().clone();
    Texts::of(&sequences)
}

#[test]
fn adapters_of_mlx_give_its_logits_and_become_peft_s() {
    let device = cpu();
    let texts = texts();
    for case in ["lora", "dora", "head"] {
        let folder = goldens().join("mlx").join(case);
        let expected = json(&format!("mlx/{case}/expected.json"));
        let base = goldens().join(expected["base"].as_str().unwrap());
        let wanted = flat(&expected["logits"]);
        let logits = |adapter: &Path| {
            let model = adapted(load(&base, FloatDType::F32, &device), adapter, &device);
            texts.logits(&model, &device)
        };
        assert_close(case, &logits(&folder), &wanted, 2e-5);
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("peft");
        let lora = converted(AdapterFormat::Lora, &base, &folder, &output, &device);
        if case == "dora" {
            let error = lora.unwrap_err().to_string();
            assert!(error.contains("new lengths"), "{error}");
            continue;
        }
        let report = lora.unwrap();
        assert!(report.relative_error < 1e-6, "{report:?}");
        let config = AdapterConfig::read(&output).unwrap();
        assert_eq!(config.peft_type(), "LORA");
        assert_close(case, &logits(&output), &wanted, 2e-5);
    }
}

#[test]
fn adapters_go_to_mlx_and_back() {
    let device = cpu();
    let texts = texts();
    for case in [
        "lora_qv",
        "lora_all_linear",
        "dora_qv",
        "rslora_tied_all_linear",
    ] {
        let folder = goldens().join("causal/adapters").join(case);
        let expected = json(&format!("causal/adapters/{case}/expected.json"));
        let base = goldens().join(expected["base"].as_str().unwrap());
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("mlx");
        let report = converted(AdapterFormat::Mlx, &base, &folder, &output, &device).unwrap();
        assert!(report.relative_error < 1e-6, "{case}: {report:?}");
        assert_eq!(report.errors.len(), report.modules);
        let [before, after] = [&folder, &output].map(|adapter| {
            let model = adapted(load(&base, FloatDType::F32, &device), adapter, &device);
            texts.logits(&model, &device)
        });
        assert_close(case, &after, &before, 2e-6);
    }
}

/// A folder of a golden's configuration, with tensors of the shapes that it calls for.
fn base_of(config: &Path, folder: &Path) {
    std::fs::copy(config, folder.join("config.json")).unwrap();
    let file = folder.join("model.safetensors");
    let empty = SafetensorsWriter::create(&file, Vec::new(), &Default::default()).unwrap();
    empty.finish().unwrap();
    let layout = ModelFolder::open(folder).unwrap();
    let layout = layout.layout(HeadKind::Language).unwrap();
    let specs = layout.parameters.iter();
    let specs = specs.map(|(name, shape)| TensorSpec::new(name, Dtype::F32, shape.clone()));
    let mut writer =
        SafetensorsWriter::create(&file, specs.collect(), &Default::default()).unwrap();
    for spec in writer.order().cloned().collect::<Vec<_>>() {
        let size = spec.shape.iter().product::<usize>();
        writer.write(&spec.name, &vec![0; 4 * size]).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn adapters_of_llama_cpp_are_those_of_its_own_script() {
    let device = cpu();
    for entry in std::fs::read_dir(goldens().join("llama_cpp")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let base = tempfile::tempdir().unwrap();
        base_of(&folder.join("config.json"), base.path());
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("gguf");
        let adapter = folder.join("peft");
        let report = converted(AdapterFormat::Gguf, base.path(), &adapter, &output, &device);
        let report = report.unwrap();
        assert!(report.relative_error < 1e-6, "{name}: {report:?}");
        let [ours, theirs] = [output.join("adapter.gguf"), folder.join("adapter.gguf")]
            .map(|path| GgufFile::open(&path).unwrap());
        for key in ["general.type", "general.architecture", "adapter.type"] {
            assert_eq!(ours.text(key).unwrap(), theirs.text(key).unwrap(), "{name}");
        }
        let alpha = |file: &GgufFile| file.float("adapter.lora.alpha").unwrap();
        assert_eq!(alpha(&ours), alpha(&theirs), "{name}");
        let names = |file: &GgufFile| {
            let mut names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&theirs), "{name}");
        for tensor in names(&ours) {
            let shape = |file: &GgufFile| file.tensor(&tensor).unwrap().shape.clone();
            assert_eq!(shape(&ours), shape(&theirs), "{name} {tensor}");
            let values = |file: &GgufFile| file.to_f32(&tensor).unwrap();
            assert_eq!(values(&ours), values(&theirs), "{name} {tensor}");
        }
    }
}

#[test]
fn what_other_programs_have_no_place_for_is_refused_by_name() {
    let device = cpu();
    let out = tempfile::tempdir().unwrap();
    let llama = goldens().join("llama_tiny");
    let adapters = goldens().join("causal/adapters");
    let bert = goldens().join("models/bert");
    let cases = [
        (
            &llama,
            adapters.join("lora_qv_lm_head"),
            AdapterFormat::Gguf,
            "`lm_head.weight` is saved",
        ),
        (
            &llama,
            adapters.join("lora_qv_lm_head"),
            AdapterFormat::Mlx,
            "mlx_lm.convert",
        ),
        (
            &llama,
            adapters.join("dora_qv"),
            AdapterFormat::Gguf,
            "new lengths",
        ),
        (
            &bert,
            goldens().join("adapters/lora_qv"),
            AdapterFormat::Gguf,
            "`bert`",
        ),
        (
            &bert,
            goldens().join("adapters/lora_qv"),
            AdapterFormat::Mlx,
            "`bert`",
        ),
    ];
    for (place, (model, adapter, to, words)) in cases.into_iter().enumerate() {
        let output = out.path().join(place.to_string());
        let error = converted(to, model, &adapter, &output, &device).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!output.exists());
    }
    let head = goldens().join("mlx/head");
    let output = out.path().join("head");
    converted(AdapterFormat::Gguf, &llama, &head, &output, &device).unwrap();
    let file = GgufFile::open(&output.join("adapter.gguf")).unwrap();
    assert!(file.tensor("output.weight.lora_a").is_ok());
}
