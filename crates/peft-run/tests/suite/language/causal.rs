//! A tiny Llama with adapters of HF PEFT: logits, losses of parts, ten steps of training.

use burn::{module::Module, tensor::FloatDType};
use peft_core::HostTensorExt;
use peft_run::{
    MergeOptions, Objective, ScheduleKind,
    core::{
        adapter_tensors,
        format::{AdapterConfig, Checkpoint},
        load_adapter, read_adapter,
    },
    merge, methods,
    models::Network,
};
use peft_train::{AdamWConfig, NextToken, Schedule, Trainer, TrainerConfig};

use super::{Texts, adapted, doubles, load};
use crate::common::*;

const ADAPTERS: [&str; 4] = [
    "lora_qv",
    "lora_all_linear",
    "dora_qv",
    "rslora_tied_all_linear",
];

fn sequences() -> Vec<serde_json::Value> {
    let cases = json("causal/cases.json");
    cases["sequences"].as_array().unwrap().clone()
}

#[test]
fn adapters_of_peft_give_its_logits_and_losses_and_so_do_merged_folders() {
    let device = cpu();
    let all = sequences();
    let texts = Texts::of(&all);
    for name in ADAPTERS {
        let dir = goldens().join("causal/adapters").join(name);
        let expected = json(&format!("causal/adapters/{name}/expected.json"));
        let tensors = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let wanted = doubles(&tensors, "logits_f64");
        let base = goldens().join(expected["base"].as_str().unwrap());
        for (dtype, tolerance) in [(FloatDType::F64, 1e-11), (FloatDType::F32, 2e-5)] {
            let model = adapted(load(&base, dtype, &device), &dir, &device);
            assert_close(name, &texts.logits(&model, &device), &wanted, tolerance);
            let dense = model.materialize();
            assert_close(name, &texts.logits(&dense, &device), &wanted, tolerance);
            // Every sequence by itself.
            for (sequence, loss) in all.iter().zip(flat(&expected["losses_f64"])) {
                let found = Texts::of([sequence]).loss(&dense, &device);
                assert_close(name, &[found], &[loss], tolerance);
            }
        }
        let out = tempfile::tempdir().unwrap();
        let merged = out.path().join("merged");
        let report = merge(&MergeOptions::new(&base, &dir, &merged, &device)).unwrap();
        assert_eq!(report.relative_error, 0.0, "{name}");
        let one = load(&merged, FloatDType::F32, &device);
        assert_close(name, &texts.logits(&one, &device), &wanted, 2e-5);
        // The same in many files.
        let parts = MergeOptions {
            max_shard_size: 3000,
            overwrite: true,
            ..MergeOptions::new(&base, &dir, &merged, &device)
        };
        let files = merge(&parts).unwrap().files;
        assert!(files > 4, "{files}");
        assert!(!merged.join("model.safetensors").exists());
        let index = merged.join("model.safetensors.index.json");
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
        let weights = index["weight_map"].as_object().unwrap();
        assert_eq!(weights.len(), Checkpoint::open(&base).unwrap().len());
        let many = load(&merged, FloatDType::F32, &device);
        assert_eq!(texts.logits(&many, &device), texts.logits(&one, &device));
        // And in one again, which leaves none of the many.
        let whole = MergeOptions {
            overwrite: true,
            ..MergeOptions::new(&base, &dir, &merged, &device)
        };
        assert_eq!(merge(&whole).unwrap().files, 1);
        assert!(!merged.join("model.safetensors.index.json").exists());
    }
}

/// The mean over targets does not depend on how a batch is cut into parts: that of parts with different
/// numbers of targets is not the mean of their means.
#[test]
fn parts_count_by_their_targets() {
    let device = cpu().autodiff();
    let expected = json("causal/adapters/lora_qv/expected.json");
    let accumulation = &expected["accumulation"];
    let all = sequences();
    let parts: Vec<Texts> = (accumulation["parts"].as_array().unwrap().iter())
        .map(|part| {
            let part = part.as_array().unwrap().iter();
            Texts::of(part.map(|row| &all[row.as_u64().unwrap() as usize]))
        })
        .collect();
    let weights: Vec<f64> = parts
        .iter()
        .map(|part| NextToken.weight(&part.truth()))
        .collect();
    assert_eq!(weights, flat(&accumulation["targets"]));
    let dir = goldens().join("causal/adapters/lora_qv");
    let model = adapted(
        load(&goldens().join("llama_tiny"), FloatDType::F64, &device),
        &dir,
        &device,
    );
    let method = methods::from_config(&AdapterConfig::read(&dir).unwrap()).unwrap();
    let config = TrainerConfig {
        learning_rate: 1e-3,
        head_learning_rate: 1e-3,
        clip_norm: None,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 10));
    let sum: f64 = weights.iter().sum();
    let (_, report) = trainer
        .step(
            model,
            method.as_ref(),
            parts.len(),
            |model, part, context| {
                let output = model.run(&parts[part].batch(model, &device), context);
                let loss = NextToken.loss(output, parts[part].targets(&device));
                Ok((loss, weights[part] / sum))
            },
        )
        .unwrap();
    let number = |key: &str| accumulation[key].as_f64().unwrap();
    assert_close("loss", &[report.loss], &[number("loss")], 1e-11);
    assert_close(
        "norm",
        &[report.gradient_norm],
        &[number("gradient_norm")],
        1e-9,
    );
    assert!((number("loss") - number("mean_of_means")).abs() > 1e-2);
}

#[test]
fn ten_steps_follow_peft() {
    let device = cpu().autodiff();
    let trace = json("causal/trace/trace.json");
    let all = sequences();
    let dir = goldens().join("causal/trace/init");
    let config = AdapterConfig::read(&dir).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir, config, method.as_ref()).unwrap();
    let base = load(&goldens().join("llama_tiny"), FloatDType::F64, &device);
    let names = base.description().names();
    let (mut model, _) = load_adapter(base, &adapter, method.as_ref(), &names, &device).unwrap();
    let rate = trace["optimizer"]["learning_rate"].as_f64().unwrap();
    let settings = TrainerConfig {
        learning_rate: rate,
        head_learning_rate: rate,
        clip_norm: None,
        optimizer: AdamWConfig {
            weight_decay: 0.0,
            ..AdamWConfig::default()
        },
        seed: 0,
    };
    let steps = trace["steps"].as_u64().unwrap();
    let mut trainer = Trainer::new(settings, Schedule::new(ScheduleKind::Constant, 0.0, steps));
    let batches = trace["batches"].as_array().unwrap();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps as usize {
        let rows = flat(&batches[step % batches.len()]).into_iter();
        let texts = Texts::of(rows.map(|row| &all[row as usize]));
        let (next, report) = trainer
            .step(model, method.as_ref(), 1, |model, _, context| {
                let output = model.run(&texts.batch(model, &device), context);
                Ok((NextToken.loss(output, texts.targets(&device)), 1.0))
            })
            .unwrap();
        model = next;
        losses.push(report.loss);
        norms.push(report.gradient_norm);
    }
    assert_close("losses", &losses, &flat(&trace["losses"]), 1e-9);
    assert_close("norms", &norms, &flat(&trace["grad_norms"]), 1e-8);
    let expected = goldens().join("causal/trace/final_f64.safetensors");
    let expected = Checkpoint::open(&expected).unwrap();
    let wanted = doubles(&expected, "logits_f64");
    let found = Texts::of(&all).logits(&model.valid(), &device.clone().inner());
    assert_close("logits", &found, &wanted, 1e-8);
    for (name, tensor) in adapter_tensors(&model, method.as_ref(), &names, &[]).unwrap() {
        let data = tensor.to_float(&name, FloatDType::F64).unwrap();
        let data: Vec<f64> = data.iter::<f64>().collect();
        assert_close(&name, &data, &doubles(&expected, &name), 1e-8);
    }
}
