//! Training follows HF PEFT step by step.

use burn::tensor::FloatDType;
use peft_core::HostTensorExt;
use peft_run::{
    ScheduleKind,
    core::{
        adapter_tensors,
        format::{AdapterConfig, Checkpoint},
        load_adapter, read_adapter,
    },
    methods,
    models::{HeadSpec, SequenceModel},
};
use peft_train::{
    AdamWConfig, Classification, Objective, Output, Schedule, Trainer, TrainerConfig, Truth,
};
use serde_json::Value;

use crate::common::*;

struct Run {
    losses: Vec<f64>,
    norms: Vec<f64>,
    tensors: Vec<(String, Vec<f64>)>,
    logits: Vec<f64>,
}

/// The recorded runs.
const CASES: [&str; 3] = ["lora_bert", "dora_bert", "adalora_bert"];

fn trace(case: &str) -> Value {
    json(&format!("traces/{case}/trace.json"))
}

/// Repeat a recorded run, each batch in `parts` parts.
fn follow(case: &str, dtype: FloatDType, parts: usize) -> Run {
    let trace = trace(case);
    let device = cpu().autodiff();
    let dir = goldens().join("traces").join(case).join("init");
    let config = AdapterConfig::read(&dir).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir, config.clone(), method.as_ref()).unwrap();
    let mut base = folder(
        trace["base"].as_str().unwrap().rsplit('/').next().unwrap(),
        dtype,
    );
    base.set_dropout(0.0);
    let head = HeadSpec {
        outputs: 3,
        seed: 1,
    };
    let (model, _) = SequenceModel::load(&base, &head, &device).unwrap();
    let names = model.names();
    let (mut model, _) = load_adapter(model, &adapter, method.as_ref(), &names, &device).unwrap();

    let number = |value: &Value| value.as_f64().unwrap();
    let optimizer = &trace["optimizer"];
    let steps = trace["steps"].as_u64().unwrap();
    let mut trainer = Trainer::new(
        TrainerConfig {
            learning_rate: number(&optimizer["learning_rate"]["adapter"]),
            head_learning_rate: number(&optimizer["learning_rate"]["head"]),
            clip_norm: Some(number(&trace["clip"]["max_norm"])),
            optimizer: AdamWConfig {
                beta1: number(&optimizer["beta1"]),
                beta2: number(&optimizer["beta2"]),
                eps: number(&optimizer["eps"]),
                weight_decay: number(&optimizer["weight_decay"]),
            },
            seed: 0,
        },
        Schedule::new(ScheduleKind::Linear, 5.0, steps),
    );
    let objective = Classification::new(3);
    let data = trace["data"].as_array().unwrap();
    let size = trace["batch_size"].as_u64().unwrap() as usize;
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps as usize {
        let start = step * size % data.len();
        let batch = &data[start..start + size];
        let (next, report) = trainer
            .step(model, method.as_ref(), parts, |model, part, context| {
                let width = size / parts;
                let rows = &batch[part * width..(part + 1) * width];
                let packed = pack(model.config(), &ids(rows), &device);
                let outputs = model.forward(&packed, context);
                let labels = labels(rows);
                let targets = objective.targets(&Truth::Classes(&labels), &device)?;
                let loss = objective.loss(Output::Scores(outputs), targets);
                Ok((loss, 1.0 / parts as f64))
            })
            .unwrap();
        model = next;
        losses.push(report.loss);
        norms.push(report.gradient_norm);
    }
    let saved = config.modules_to_save();
    let tensors = adapter_tensors(&model, method.as_ref(), &names, saved).unwrap();
    let tensors = tensors
        .into_iter()
        .map(|(name, t)| {
            let data = t.to_float(&name, FloatDType::F64).unwrap();
            (name, data.iter::<f64>().collect())
        })
        .collect();
    let logits = logits(
        &burn::module::Module::valid(&model),
        "bert",
        &device.inner(),
    );
    Run {
        losses,
        norms,
        tensors,
        logits,
    }
}

fn ids(rows: &[Value]) -> Vec<(Vec<u32>, Option<Vec<u32>>)> {
    let ids = |row: &Value| serde_json::from_value(row["ids"].clone()).unwrap();
    rows.iter().map(|row| (ids(row), None)).collect()
}

fn labels(rows: &[Value]) -> Vec<u32> {
    let label = |row: &Value| row["label"].as_u64().unwrap() as u32;
    rows.iter().map(label).collect()
}

#[test]
fn fifty_steps_follow_peft() {
    for case in CASES {
        let trace = trace(case);
        let run = follow(case, FloatDType::F64, 1);
        let close = |what: &str, values: &[f64], key: &str, tolerance: f64| {
            let what = format!("{case}: {what}");
            assert_close(&what, values, &flat(&trace[key]), tolerance);
        };
        close("losses", &run.losses, "losses", 1e-9);
        close("norms", &run.norms, "grad_norms_before_clip", 1e-8);
        close("logits", &run.logits, "final_logits_f64", 1e-8);
        let dir = goldens().join("traces").join(case);
        let expected = Checkpoint::open(&dir.join("final_f64.safetensors")).unwrap();
        assert_eq!(run.tensors.len(), expected.names().count(), "{case}");
        for (name, values) in &run.tensors {
            let view = expected.view(name).unwrap();
            let wanted: Vec<f64> = (view.bytes.chunks_exact(8))
                .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            assert_close(&format!("{case}: {name}"), values, &wanted, 1e-8);
        }
    }
}

#[test]
fn single_precision_follows_within_a_thousandth() {
    for case in CASES {
        let run = follow(case, FloatDType::F32, 1);
        assert_close(case, &run.losses, &flat(&trace(case)["losses"]), 1e-3);
    }
}

#[test]
fn accumulated_parts_equal_the_whole_batch() {
    for case in CASES {
        let whole = follow(case, FloatDType::F64, 1);
        let parts = follow(case, FloatDType::F64, 4);
        assert_close(case, &parts.losses, &whole.losses, 1e-9);
        assert_close(case, &parts.logits, &whole.logits, 1e-8);
    }
}
