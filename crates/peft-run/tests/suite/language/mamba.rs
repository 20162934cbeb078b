//! A Mamba with adapters of three methods at once: entries of `A_log`, the bias of `dt_proj`, LoRA on
//! `out_proj`.

use std::path::Path;

use burn::{module::Module, tensor::FloatDType};
use peft_run::{
    MergeOptions, Objective, ScheduleKind,
    core::{
        AdapterPart, MethodList,
        format::{AdapterConfig, Checkpoint, Dtype, HostTensor},
        save_parts,
    },
    merge, methods,
    models::{Model, Network},
};
use peft_train::{AdamWConfig, NextToken, Schedule, Trainer, TrainerConfig, TrainerState};
use serde_json::{Value, json};

use super::{Texts, adapted, doubles, load, owned, write_adapter};
use crate::common::{assert_close, cpu, flat, goldens, json as golden};

/// The methods, in the order of [`write_parts`]'s folders.
const METHODS: [&str; 3] = ["sdt", "bitfit", "lora"];

fn blocks() -> impl Iterator<Item = String> {
    (0..2).map(|layer| format!("backbone.layers.{layer}.mixer"))
}

fn configs() -> [Value; 3] {
    [
        // Of 32 channels and 4 states: twelve entries.
        json!({
            "peft_type": "SDT", "task_type": "CAUSAL_LM", "target_modules": ["A_log"],
            "channels": 0.125, "states": 0.75,
        }),
        json!({
            "peft_type": "BITFIT", "task_type": "CAUSAL_LM", "target_modules": ["dt_proj.bias"],
        }),
        json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["out_proj"],
            "r": 2, "lora_alpha": 3,
        }),
    ]
}

/// Write a reference's adapters as three folders; `start` has those that start at zero there.
fn write_parts(dir: &Path, file: &Checkpoint, start: bool) {
    let mut parts: [Vec<(String, HostTensor)>; 3] = Default::default();
    let zeroed = |mut tensor: HostTensor| {
        if start {
            tensor.bytes.fill(0);
        }
        tensor
    };
    for block in blocks() {
        let places = file.view(&format!("{block}.A_log.places")).unwrap();
        let places: Vec<i64> = (places.bytes.chunks_exact(8))
            .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let flat: Vec<i64> = places
            .chunks(2)
            .map(|place| place[0] * 4 + place[1])
            .collect();
        assert!(flat.is_sorted());
        let places = HostTensor {
            dtype: Dtype::I64,
            shape: vec![flat.len()],
            bytes: flat.iter().flat_map(|place| place.to_le_bytes()).collect(),
        };
        let offsets = zeroed(owned(file, &format!("{block}.A_log.values")));
        parts[0].push((format!("{block}.A_log.sdt_offsets"), offsets));
        parts[0].push((format!("{block}.A_log.sdt_places"), places));
        let offset = zeroed(owned(file, &format!("{block}.dt_proj.bias")));
        parts[1].push((format!("{block}.dt_proj.bias.bitfit_offset"), offset));
        let a = owned(file, &format!("{block}.out_proj.lora_A"));
        let b = zeroed(owned(file, &format!("{block}.out_proj.lora_B")));
        parts[2].push((format!("{block}.out_proj.lora_A.weight"), a));
        parts[2].push((format!("{block}.out_proj.lora_B.weight"), b));
    }
    for ((name, config), tensors) in METHODS.iter().zip(configs()).zip(parts) {
        write_adapter(&dir.join(name), &config, tensors);
    }
}

fn with_parts(mut model: Model, dir: &Path, device: &burn::tensor::Device) -> Model {
    for name in METHODS {
        model = adapted(model, &dir.join(name), device);
    }
    model
}

fn texts() -> Texts {
    let cases = golden("ssm/cases.json");
    Texts::of(cases["sequences"].as_array().unwrap())
}

fn reference(name: &str) -> Checkpoint {
    Checkpoint::open(&goldens().join("ssm").join(name)).unwrap()
}

#[test]
fn three_methods_give_the_references_logits_factored_dense_and_merged() {
    let (dir, device, texts) = (tempfile::tempdir().unwrap(), cpu(), texts());
    write_parts(dir.path(), &reference("adapters.safetensors"), false);
    let wanted = doubles(&reference("adapted.safetensors"), "logits_f64");
    let base = goldens().join("mamba_tiny");
    for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 2e-5)] {
        let model = with_parts(load(&base, dtype, &device), dir.path(), &device);
        assert_close(
            "factored",
            &texts.logits(&model, &device),
            &wanted,
            tolerance,
        );
        let dense = model.materialize();
        assert_close("dense", &texts.logits(&dense, &device), &wanted, tolerance);
    }
    // One after the other into the weights.
    let mut folder = base;
    for name in METHODS {
        let next = dir.path().join(format!("merged_{name}"));
        let part = dir.path().join(name);
        let report = merge(&MergeOptions::new(&folder, &part, &next, &device)).unwrap();
        assert_eq!(report.merged, 2, "{name}");
        folder = next;
    }
    let merged = load(&folder, FloatDType::F32, &device);
    assert_close("merged", &texts.logits(&merged, &device), &wanted, 2e-5);
}

/// Ten steps of all three, stopped after `stops` and gone on with in another process's place.
fn train(dir: &Path, out: &Path, stops: &[u64]) -> (Vec<f64>, Vec<f64>, Model) {
    let device = cpu().autodiff();
    let texts = texts();
    let rates = &golden("ssm/trace.json")["optimizer"]["learning_rate"];
    let rate = |key: &str| rates[key].as_f64().unwrap();
    let built: Vec<_> = (METHODS.iter())
        .map(|name| methods::from_config(&AdapterConfig::read(&dir.join(name)).unwrap()).unwrap())
        .collect();
    let methods = MethodList::new()
        .with(built[0].as_ref(), rate("A_log.values"))
        .with(built[1].as_ref(), rate("dt_proj.bias"))
        .with(built[2].as_ref(), rate("out_proj.lora_A"));
    let fresh = || {
        let base = load(&goldens().join("mamba_tiny"), FloatDType::F64, &device);
        let config = TrainerConfig {
            learning_rate: 1.0,
            head_learning_rate: 1.0,
            clip_norm: None,
            optimizer: AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            seed: 0,
        };
        let schedule = Schedule::new(ScheduleKind::Constant, 0.0, 10);
        let model = with_parts(base, dir, &device);
        (model, Trainer::new(config, schedule))
    };
    let (mut model, mut trainer) = fresh();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..10 {
        if stops.contains(&step) {
            let path = out.join("state.safetensors");
            trainer.state(&model).unwrap().write(&path).unwrap();
            let state = TrainerState::read(&path).unwrap();
            let (base, mut next) = fresh();
            model = next.restore(base, &state).unwrap();
            trainer = next;
        }
        let (next, report) = trainer
            .step(model, &methods, 1, |model, _, context| {
                let output = model.run(&texts.batch(model, &device), context);
                Ok((NextToken.loss(output, texts.targets(&device)), 1.0))
            })
            .unwrap();
        model = next;
        losses.push(report.loss);
        norms.push(report.gradient_norm);
    }
    (losses, norms, model)
}

#[test]
fn ten_steps_of_three_methods_follow_the_reference_and_resume_to_the_same_bits() {
    let (dir, device, texts) = (tempfile::tempdir().unwrap(), cpu(), texts());
    write_parts(dir.path(), &reference("adapters.safetensors"), true);
    let trace = golden("ssm/trace.json");
    let (losses, norms, model) = train(dir.path(), dir.path(), &[]);
    assert_close("losses", &losses, &flat(&trace["losses"]), 1e-9);
    assert_close("norms", &norms, &flat(&trace["grad_norms"]), 1e-8);
    let expected = reference("trace.safetensors");
    let wanted = doubles(&expected, "logits_f64");
    let logits = texts.logits(&model.valid(), &device);
    assert_close("logits", &logits, &wanted, 1e-8);

    let (again, _, resumed) = train(dir.path(), dir.path(), &[0, 4, 5]);
    assert_eq!(losses, again);
    assert_eq!(logits, texts.logits(&resumed.valid(), &device));

    // Saved as a folder for each method, loaded again side by side.
    let configs: Vec<AdapterConfig> = (METHODS.iter())
        .map(|name| AdapterConfig::read(&dir.path().join(name)).unwrap())
        .collect();
    let built: Vec<_> = (configs.iter())
        .map(|config| methods::from_config(config).unwrap())
        .collect();
    let parts: Vec<AdapterPart> = (built.iter().zip(&configs))
        .map(|(method, config)| AdapterPart {
            method: method.as_ref(),
            config,
        })
        .collect();
    let names = model.description().names();
    let saved = dir.path().join("saved");
    save_parts(&model, &saved, &parts, &names).unwrap();
    let base = load(&goldens().join("mamba_tiny"), FloatDType::F64, &device);
    let restored = with_parts(base, &saved, &device);
    assert_eq!(logits, texts.logits(&restored, &device));

    // What no part holds is not dropped.
    let error = save_parts(&model, &dir.path().join("short"), &parts[..2], &names).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("out_proj"), "{text}");
    assert!(!dir.path().join("short").exists());
}
