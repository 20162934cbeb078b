//! Adapters of HF PEFT beyond linear layers: tables and heads, in one or apart, single tokens, biases.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{module::Module, tensor::FloatDType};
use peft_run::{
    AdapterFormat, BaseOptions, ConvertOptions, MergeOptions, Objective, OpenOptions, RunError,
    ScheduleKind, convert,
    core::{
        format::{AdapterConfig, AdapterFile, Checkpoint, HostTensor, TargetModules},
        load_adapter, read_adapter, save_adapter,
    },
    merge, methods,
    models::{HeadKind, Model, ModelFolder, Network},
    open, plan, train, verify,
};
use peft_train::{AdamWConfig, NextToken, Schedule, Trainer, TrainerConfig};
use serde_json::{Value, json};
use tempfile::tempdir;

use super::{
    Texts, doubles, load,
    runs::{adapter_bytes, config, measured, workspace},
};
use crate::{common::*, resume::Stop};

/// Cases whose models have the table of tokens and the head in one, and whose adapters have them apart.
const PARTED: [&str; 6] = [
    "gpt2_tables",
    "tied_embed",
    "tied_embed_head",
    "tied_head",
    "tied_tokens_apart",
    "tied_saved_embed",
];
/// Another one, whose file has both in full.
const PARTED_IN_FULL: &str = "tied_saved_both";

fn is_parted(case: &str) -> bool {
    PARTED.contains(&case) || case == PARTED_IN_FULL
}

fn cases() -> Vec<(String, Value)> {
    let mut cases: Vec<_> = fs::read_dir(goldens().join("lora_options"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            let expected =
                super::super::common::json(&format!("lora_options/{name}/expected.json"));
            (name, expected)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 19, "{cases:?}");
    cases
}

fn dir(case: &str) -> std::path::PathBuf {
    goldens().join("lora_options").join(case)
}

fn base_of(expected: &Value) -> std::path::PathBuf {
    goldens().join(expected["base"].as_str().unwrap())
}

fn texts() -> (Vec<Value>, Texts) {
    let cases = super::super::common::json("causal/cases.json");
    let all = cases["sequences"].as_array().unwrap().clone();
    let texts = Texts::of(&all);
    (all, texts)
}

/// The model of a case without the adapter.
fn base(case: &str, expected: &Value, dtype: FloatDType, device: &burn::tensor::Device) -> Model {
    let mut folder = ModelFolder::open(&base_of(expected)).unwrap();
    folder.set_dtype(dtype);
    if is_parted(case) {
        folder.part_head().unwrap();
    }
    let loaded = Model::load(&folder, HeadKind::Language, 0, device);
    loaded.unwrap().0
}

fn with_adapter(case: &str, model: Model, device: &burn::tensor::Device) -> Model {
    let config = AdapterConfig::read(&dir(case)).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir(case), config, method.as_ref()).unwrap();
    let names = model.description().names();
    let loaded = load_adapter(model, &adapter, method.as_ref(), &names, device);
    loaded.unwrap().0
}

#[test]
fn logits_are_those_of_peft_factored_and_dense() {
    let device = cpu();
    let (_, texts) = texts();
    for (case, expected) in cases() {
        let tensors = Checkpoint::open(&dir(&case).join("expected.safetensors")).unwrap();
        let wanted = doubles(&tensors, "logits_f64");
        for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 1e-4)] {
            let model = with_adapter(&case, base(&case, &expected, dtype, &device), &device);
            assert_close(&case, &texts.logits(&model, &device), &wanted, tolerance);
            let dense = model.materialize();
            assert_close(&case, &texts.logits(&dense, &device), &wanted, tolerance);
        }
        // As the command opens it: it finds out by itself what is to be apart.
        let opened = open(&OpenOptions {
            model: &base_of(&expected),
            adapter: Some(&dir(&case)),
            any_base: false,
            task: None,
            base: BaseOptions::default(),
            device: &device,
        })
        .unwrap();
        assert_close(&case, &texts.logits(&opened.model, &device), &wanted, 1e-4);
    }
}

#[test]
fn merged_folders_compute_the_same() {
    let device = cpu();
    let (_, texts) = texts();
    for (case, expected) in cases() {
        let tensors = Checkpoint::open(&dir(&case).join("expected.safetensors")).unwrap();
        let wanted = doubles(&tensors, "logits_f64");
        let out = tempdir().unwrap();
        let merged = out.path().join("merged");
        let (model, adapter) = (base_of(&expected), dir(&case));
        merge(&MergeOptions::new(&model, &adapter, &merged, &device)).unwrap();
        let found = texts.logits(&load(&merged, FloatDType::F32, &device), &device);
        assert_close(&case, &found, &wanted, 1e-4);
        let config: Value =
            serde_json::from_slice(&fs::read(merged.join("config.json")).unwrap()).unwrap();
        if is_parted(&case) {
            assert_eq!(config["tie_word_embeddings"], false, "{case}");
            assert!(
                Checkpoint::open(&merged)
                    .unwrap()
                    .contains("lm_head.weight"),
                "{case}"
            );
        }
        let report = verify(&model, &adapter, &device).unwrap();
        assert!(report.is_good(), "{case}: {:?}", report.problems);
    }
}

/// A file without what PEFT puts into it beside the adapter: copies of tables, and of an adapter that is tied.
fn own_tensors(case: &str, folder: &Path) -> BTreeMap<String, HostTensor> {
    let file = AdapterFile::read(folder).unwrap();
    let twice = |key: &str| case == "tied_embed_ensured" && key.contains(".lm_head.");
    let own = |key: &String| !key.ends_with(".base_layer.weight") && !twice(key);
    file.tensors
        .into_iter()
        .filter(|(key, _)| own(key))
        .collect()
}

#[test]
fn files_are_written_back_key_by_key_and_byte_by_byte() {
    let device = cpu();
    for (case, expected) in cases() {
        let model = with_adapter(
            &case,
            base(&case, &expected, FloatDType::F32, &device),
            &device,
        );
        let config = AdapterConfig::read(&dir(&case)).unwrap();
        let method = methods::from_config(&config).unwrap();
        let out = tempdir().unwrap();
        let names = model.description().names();
        save_adapter(&model, out.path(), &config, method.as_ref(), &names).unwrap();
        let (old, new) = (
            own_tensors(&case, &dir(&case)),
            own_tensors(&case, out.path()),
        );
        assert_eq!(
            old.keys().collect::<Vec<_>>(),
            new.keys().collect::<Vec<_>>(),
            "{case}"
        );
        assert!(old == new, "{case}");
        let read = |path: &Path| AdapterConfig::read(path).unwrap().fields().clone();
        assert_eq!(read(&dir(&case)), read(out.path()), "{case}");
    }
}

#[test]
fn six_steps_follow_peft() {
    let device = cpu().autodiff();
    let (all, _) = texts();
    for (case, expected) in cases() {
        // PEFT has two parameters of one storage there, and moves it twice a step.
        if case == "tied_embed_ensured" {
            continue;
        }
        let model = base(&case, &expected, FloatDType::F64, &device);
        let mut model = with_adapter(&case, model, &device);
        let config = AdapterConfig::read(&dir(&case)).unwrap();
        let method = methods::from_config(&config).unwrap();
        let settings = TrainerConfig {
            learning_rate: 1e-3,
            head_learning_rate: 1e-3,
            clip_norm: None,
            optimizer: AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            seed: 0,
        };
        let wanted = flat(&expected["trace"]);
        let mut trainer = Trainer::new(settings, Schedule::new(ScheduleKind::Constant, 0.0, 6));
        let mut losses = Vec::new();
        for step in 0..wanted.len() {
            let rows = [[0, 1], [2, 3]][step % 2];
            let texts = Texts::of(rows.map(|row| &all[row]));
            let (next, report) = trainer
                .step(model, method.as_ref(), 1, |model, _, _| {
                    // GPT-2 would drop.
                    let context = peft_run::core::AdapterContext::inference();
                    let output = model.run(&texts.batch(model, &device), &context);
                    Ok((NextToken.loss(output, texts.targets(&device)), 1.0))
                })
                .unwrap();
            model = next;
            losses.push(report.loss);
        }
        assert_close(&case, &losses, &wanted, 1e-9);
    }
}

/// What a run is asked for, its model, and whether head and table are apart afterwards.
fn runs() -> Vec<(&'static str, &'static str, Value, bool)> {
    vec![
        (
            "bias",
            "llama_tiny_tied",
            json!({ "bias": "lora_only" }),
            false,
        ),
        (
            "all biases",
            "llama_tiny_tied",
            json!({ "bias": "all" }),
            false,
        ),
        (
            "bias of B",
            "llama_tiny_tied",
            json!({ "lora_bias": true }),
            false,
        ),
        (
            "table",
            "llama_tiny",
            json!({ "targets": ["embed_tokens", "q_proj"] }),
            false,
        ),
        (
            "tied table",
            "llama_tiny_tied",
            json!({ "targets": ["embed_tokens", "q_proj"] }),
            true,
        ),
        (
            "head",
            "llama_tiny_tied",
            json!({ "targets": ["lm_head"] }),
            true,
        ),
        (
            "tied for good",
            "llama_tiny_tied",
            json!({ "targets": ["embed_tokens"], "ensure_weight_tying": true }),
            false,
        ),
        (
            "tokens",
            "llama_tiny_tied",
            json!({ "trainable_token_indices": [5, 9, 30] }),
            false,
        ),
        (
            "tokens apart",
            "llama_tiny_tied",
            json!({ "trainable_token_indices": { "embed_tokens": [4, 7], "lm_head": [9, 11] } }),
            true,
        ),
        (
            "saved table",
            "llama_tiny_tied",
            json!({ "save": ["embed_tokens"] }),
            false,
        ),
        (
            "saved head",
            "llama_tiny_tied",
            json!({ "save": ["lm_head"] }),
            false,
        ),
        (
            "mamba's table",
            "mamba_tiny",
            json!({ "targets": ["embeddings", "in_proj"] }),
            true,
        ),
    ]
}

fn asked(settings: &mut peft_run::RunConfig, what: &Value) {
    settings.target_modules = TargetModules::List(vec!["q_proj".into(), "v_proj".into()]);
    let names = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    for (key, value) in what.as_object().unwrap() {
        match key.as_str() {
            "bias" => settings.bias = value.as_str().unwrap().into(),
            "targets" => settings.target_modules = TargetModules::List(names(value)),
            "save" => settings.modules_to_save = names(value),
            key => drop(settings.method_config.insert(key.into(), value.clone())),
        }
    }
}

#[test]
fn runs_train_them_resume_and_their_files_work() {
    for (what, base, settings, parted) in runs() {
        let (dir, model, data) = workspace(base);
        let output = dir.path().join("whole");
        let mut run = config(&model, &data, &output, "lora");
        asked(&mut run, &settings);
        let planned = plan(&run).unwrap();
        train(&run, &mut ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let size = fs::metadata(output.join("adapter_model.safetensors"))
            .unwrap()
            .len();
        assert_eq!(planned.adapter_bytes, size, "{what}");
        let values: usize = AdapterFile::read(&output)
            .unwrap()
            .tensors
            .values()
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum();
        // A table that is the head, too, is written twice.
        let twice = if what.starts_with("saved") {
            32 * 16
        } else {
            0
        };
        let trained = planned.trainable_parameters + planned.head_parameters;
        assert_eq!(values - twice, trained, "{what}");

        // The same in two parts.
        let parts = dir.path().join("parts");
        run.output = parts.clone();
        let error = train(&run, &mut Stop::after(11)).unwrap_err();
        assert!(
            matches!(error, RunError::Interrupted { .. }),
            "{what}: {error}"
        );
        run.resume = true;
        train(&run, &mut ()).unwrap();
        assert_eq!(adapter_bytes(&output), adapter_bytes(&parts), "{what}");

        let (_, before) = measured(&model, None, &data);
        let (_, after) = measured(&model, Some(&output), &data);
        assert!(
            after.loss < before.loss - 0.05,
            "{what}: {after:?} {before:?}"
        );
        let device = cpu();
        let report = verify(&model, &output, &device).unwrap();
        assert!(report.is_good(), "{what}: {:?}", report.problems);
        let merged = dir.path().join("merged");
        merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
        let (_, dense) = measured(&merged, None, &data);
        assert!(
            (dense.loss - after.loss).abs() < 1e-5,
            "{what}: {dense:?} {after:?}"
        );
        let folder = ModelFolder::open(&merged).unwrap();
        let whole = ModelFolder::open(&model).unwrap().tied_head().is_some();
        assert_eq!(whole && folder.tied_head().is_none(), parted, "{what}");

        // Trained on, from where it is.
        let on = dir.path().join("on");
        let mut again = config(&model, &data, &on, "lora");
        again.target_modules = TargetModules::Unspecified;
        again.adapter = Some(output.clone());
        again.steps = Some(20);
        train(&again, &mut ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (_, further) = measured(&model, Some(&on), &data);
        assert!(
            further.loss < after.loss + 0.1,
            "{what}: {further:?} {after:?}"
        );
        let keys = |folder: &Path| -> Vec<String> {
            let file = AdapterFile::read(folder).unwrap();
            file.tensors.into_keys().collect()
        };
        assert_eq!(keys(&on), keys(&output), "{what}");
    }
}

/// HF PEFT loads what runs write, leaves no tensor over and misses none, and computes what we do.
#[test]
#[ignore = "needs the reference Python: PEFT_TEST_PYTHON"]
fn hf_peft_loads_what_runs_write() {
    let python =
        std::env::var_os("PEFT_TEST_PYTHON").expect("PEFT_TEST_PYTHON names a Python with PEFT");
    let root = goldens().join("../..");
    let (_, texts) = texts();
    for (what, base, settings, _) in runs() {
        let (dir, model, data) = workspace(base);
        let output = dir.path().join("out");
        let mut run = config(&model, &data, &output, "lora");
        asked(&mut run, &settings);
        train(&run, &mut ()).unwrap();
        let device = cpu();
        let opened = open(&OpenOptions {
            model: &model,
            adapter: Some(&output),
            any_base: false,
            task: None,
            base: BaseOptions::default(),
            device: &device,
        })
        .unwrap();
        let logits = texts.logits(&opened.model, &device);
        let rows: Vec<&[f64]> = logits.chunks(32).collect();
        let expect = dir.path().join("expect.json");
        fs::write(&expect, json!({ "logits": rows }).to_string()).unwrap();
        let checked = std::process::Command::new(&python)
            .arg(root.join("xtask/python/check_adapter.py"))
            .arg("--base")
            .arg(&model)
            .arg("--adapter")
            .arg(&output)
            .arg("--cases")
            .arg(goldens().join("causal/cases.json"))
            .arg("--expect")
            .arg(&expect)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&checked.stdout);
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{what}: {told} {errors}");
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    let refused = |base: &str, what: Value| {
        let (dir, model, data) = workspace(base);
        let mut run = config(&model, &data, &dir.path().join("out"), "lora");
        asked(&mut run, &what);
        train(&run, &mut ()).unwrap_err().to_string()
    };
    for (what, parts) in [
        (json!({ "bias": "some" }), ["`bias`", "lora_only"]),
        (
            json!({ "trainable_token_indices": [32] }),
            ["32 tokens", "number 32"],
        ),
        (
            json!({ "trainable_token_indices": "x" }),
            ["trainable_token_indices", "numbers"],
        ),
        (
            json!({ "targets": ["embed_tokens"], "trainable_token_indices": [3] }),
            ["model.embed_tokens", "adapted twice"],
        ),
        (
            json!({ "targets": ["embed_tokens"], "lora_bias": true }),
            ["model.embed_tokens", "lora_bias"],
        ),
        (
            json!({ "targets": ["embed_tokens"], "init_lora_weights": "pissa" }),
            ["model.embed_tokens", "init_lora_weights"],
        ),
    ] {
        let error = refused("llama_tiny", what);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    // A bias that no merged weight could hold.
    let (dir, model, data) = workspace("llama_tiny");
    let output = dir.path().join("out");
    let mut run = config(&model, &data, &output, "lora");
    asked(&mut run, &json!({ "lora_bias": true }));
    train(&run, &mut ()).unwrap();
    let (merged, device) = (dir.path().join("merged"), cpu());
    let error = merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap_err();
    assert!(
        error.to_string().contains("has none in the base"),
        "{error}"
    );
    // What other programs' files have no place for.
    for (case, to, told) in [
        ("embed", AdapterFormat::Gguf, "is a table"),
        ("embed", AdapterFormat::Mlx, "is a table"),
        ("tied_head", AdapterFormat::Gguf, "is the table of tokens"),
        ("tied_head", AdapterFormat::Mlx, "is the table of tokens"),
        ("lora_bias", AdapterFormat::Lora, "no low-rank form"),
    ] {
        let expected = super::super::common::json(&format!("lora_options/{case}/expected.json"));
        let error = convert(&ConvertOptions {
            model: &base_of(&expected),
            adapter: &self::dir(case),
            output: &output.join("converted"),
            to,
            any_base: false,
            overwrite: false,
            device: &device,
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(told), "{case}: {error}");
    }
    // As plain LoRA, tables go along.
    let plain = output.join("plain");
    let both = self::dir("embed_head");
    let options = ConvertOptions {
        model: &model,
        adapter: &both,
        output: &plain,
        to: AdapterFormat::Lora,
        any_base: false,
        overwrite: false,
        device: &device,
    };
    assert!(convert(&options).unwrap().relative_error < 1e-6);
    let written = AdapterFile::read(&plain).unwrap();
    let table = "base_model.model.model.embed_tokens.lora_embedding_A";
    assert_eq!(written.tensor(table).unwrap().shape, [3, 32]);
    // A file whose copy of the table is another base's.
    let other = dir.path().join("other");
    let case = goldens().join("lora_options/embed");
    let mut file = AdapterFile::read(&case).unwrap();
    let copy = "base_model.model.model.embed_tokens.base_layer.weight";
    let values: Vec<f32> = vec![0.25; 32 * 16];
    file.tensors
        .insert(copy.into(), HostTensor::from_f32([32, 16], &values));
    fs::create_dir(&other).unwrap();
    file.write(&other.join("adapter_model.safetensors"))
        .unwrap();
    fs::copy(
        case.join("adapter_config.json"),
        other.join("adapter_config.json"),
    )
    .unwrap();
    let error = merge(&MergeOptions::new(&model, &other, &merged, &device)).unwrap_err();
    assert!(error.to_string().contains("another table"), "{error}");
}
