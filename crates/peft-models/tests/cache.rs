//! Passes that go on from what a cache holds, against passes over whole sequences.

mod common;

use burn::tensor::{Device, FloatDType};
use peft_core::AdapterContext;
use peft_models::{HeadKind, Model, Network, Output, PackedBatch, SequenceCache};
use serde_json::{Value, json};

use common::{IDS, causal, config, folder, logits, rows};

/// Sequences of unequal lengths, beyond the windows of the families.
const SEQUENCES: [&[u32]; 3] = [&IDS, &[4, 4, 19], &[2, 30, 1, 1, 0, 5]];

/// The logits after the last of these tokens of each sequence, and the caches behind them.
fn step(
    model: &Model,
    sequences: &[&[u32]],
    caches: Vec<SequenceCache>,
    device: &Device,
) -> (Vec<Vec<f64>>, Vec<SequenceCache>) {
    let mut starts = vec![0];
    for sequence in sequences {
        starts.push(starts.last().unwrap() + sequence.len());
    }
    let ids = sequences.concat();
    let input = model.description();
    let batch = PackedBatch::continuing(input, &ids, &starts, caches, device).unwrap();
    let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference()) else {
        panic!("no logits");
    };
    let logits = head.logits(hidden);
    let width = logits.dims()[1];
    let values: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let rows = values.chunks(width).map(<[f64]>::to_vec).collect();
    (rows, batch.into_caches())
}

/// Every model that has a cache.
fn models(dtype: FloatDType, device: &Device) -> Vec<(&'static str, Model)> {
    let families = rows().into_iter();
    let mut models: Vec<_> = families
        .map(|row| (row.0, causal(&config(row.1), dtype, device)))
        .collect();
    for (name, own) in [
        ("mamba", json!({ "time_step_rank": 2 })),
        ("falcon_mamba", json!({ "time_step_rank": 2 })),
        (
            "mamba2",
            json!({ "num_heads": 4, "head_dim": 4, "n_groups": 2, "time_step_limit": [0.1, 2.0] }),
        ),
    ] {
        let mut config = json!({
            "model_type": name, "vocab_size": 32, "hidden_size": 8, "state_size": 3,
            "num_hidden_layers": 2, "expand": 2, "conv_kernel": 4,
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false,
        });
        config
            .as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        let (_temp, folder) = folder(&config, HeadKind::Language, dtype);
        let (model, _) = Model::load(&folder, HeadKind::Language, 0, device).unwrap();
        models.push((name, model));
    }
    let jamba = config(json!({
        "model_type": "jamba", "num_hidden_layers": 4, "attn_layer_period": 2,
        "attn_layer_offset": 1, "num_experts": 1, "mamba_d_state": 3, "mamba_dt_rank": 2,
    }));
    models.push(("jamba", causal(&jamba, dtype, device)));
    models
}

fn expect_near(name: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(expected) {
        let near = (found - expected).abs() < tolerance;
        assert!(near, "{name}: {found} for {expected}");
    }
}

/// What a pass over the whole of one sequence gives for its last token.
fn whole(model: &Model, ids: &[u32], device: &Device) -> Vec<f64> {
    logits(model, &[ids], device).pop().unwrap()
}

#[test]
fn prefill_and_steps_of_unequal_sequences_are_whole_passes() {
    let device = Device::flex();
    for (dtype, tolerance) in [(FloatDType::F32, 2e-5), (FloatDType::F64, 1e-10)] {
        for (name, model) in models(dtype, &device) {
            // Beyond four tokens these positions change: see the test of that.
            let reach = if name.contains("long positions") {
                40
            } else {
                0
            };
            let caches = vec![SequenceCache::reaching(reach); 3];
            let (mut last, mut caches) = step(&model, &SEQUENCES, caches, &device);
            let mut sequences = SEQUENCES.map(<[u32]>::to_vec);
            // Enough for buffers to grow, and for windows to let go.
            for round in 0..40 {
                if round % 8 == 0 {
                    for (last, ids) in last.iter().zip(&sequences) {
                        if reach == 0 || ids.len() > 4 {
                            expect_near(name, last, &whole(&model, ids, &device), tolerance);
                        }
                    }
                }
                let next = [round, 31 - round % 9, 7 * round % 32].map(|id| id % 32);
                for (ids, next) in sequences.iter_mut().zip(next) {
                    ids.push(next);
                }
                let next: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
                (last, caches) = step(&model, &next, caches, &device);
            }
            for (last, ids) in last.iter().zip(&sequences) {
                expect_near(name, last, &whole(&model, ids, &device), tolerance);
            }
            assert_eq!(caches[1].len(), 43, "{name}");
        }
    }
}

#[test]
fn prefill_in_parts_is_prefill() {
    let device = Device::flex();
    for (name, model) in models(FloatDType::F32, &device) {
        let mut cache = vec![SequenceCache::reaching(IDS.len())];
        let mut last = Vec::new();
        for part in [&IDS[..1], &IDS[1..4], &IDS[4..]] {
            (last, cache) = step(&model, &[part], cache, &device);
        }
        expect_near(name, &last[0], &whole(&model, &IDS, &device), 2e-5);
    }
}

#[test]
fn sequences_join_and_leave() {
    let device = Device::flex();
    for (name, model) in models(FloatDType::F32, &device) {
        let reach = || SequenceCache::reaching(20);
        let (_, mut first) = step(&model, &[&IDS], vec![reach()], &device);
        // One that has begun and one that has not share a pass.
        let both = vec![first.remove(0), reach()];
        let (last, mut caches) = step(&model, &[&[3, 4], &IDS], both, &device);
        let ids = [&IDS[..], &[3, 4]].concat();
        expect_near(name, &last[0], &whole(&model, &ids, &device), 2e-5);
        expect_near(name, &last[1], &whole(&model, &IDS, &device), 2e-5);
        let (last, _) = step(&model, &[&[9]], vec![caches.remove(1)], &device);
        let ids = [&IDS[..], &[9]].concat();
        expect_near(name, &last[0], &whole(&model, &ids, &device), 2e-5);
    }
}

#[test]
fn a_cache_goes_back_where_it_can() {
    let device = Device::flex();
    for (name, model) in models(FloatDType::F32, &device) {
        let start = vec![SequenceCache::reaching(20)];
        let (_, mut caches) = step(&model, &[&IDS], start, &device);
        let fork = caches[0].clone();
        let able = caches[0].rewind(5);
        // State spaces forget.
        assert_eq!(able, !name.contains("amba"), "{name}");
        if able {
            let (last, _) = step(&model, &[&[8]], caches, &device);
            let ids = [&IDS[..5], &[8]].concat();
            expect_near(name, &last[0], &whole(&model, &ids, &device), 2e-5);
        }
        // A clone knows nothing of it.
        let (last, _) = step(&model, &[&[9]], vec![fork], &device);
        let ids = [&IDS[..], &[9]].concat();
        expect_near(name, &last[0], &whole(&model, &ids, &device), 2e-5);
    }
}

#[test]
fn a_second_pass_over_a_batch_is_the_first() {
    let device = Device::flex();
    for (name, model) in models(FloatDType::F32, &device) {
        let (_, caches) = step(&model, &[&IDS], vec![SequenceCache::reaching(9)], &device);
        let batch =
            PackedBatch::continuing(model.description(), &[9], &[0, 1], caches, &device).unwrap();
        let context = AdapterContext::inference();
        assert_eq!(model.first_not_finite(&batch, &context), None, "{name}");
        let Output::Tokens { hidden, head } = model.run(&batch, &context) else {
            panic!("no logits");
        };
        let last: Vec<f64> = head.logits(hidden).into_data().iter::<f64>().collect();
        let ids = [&IDS[..], &[9]].concat();
        expect_near(name, &last, &whole(&model, &ids, &device), 2e-5);
    }
}

#[test]
fn positions_that_switch_ask_for_a_restart() {
    let device = Device::flex();
    for (name, model) in models(FloatDType::F32, &device) {
        let (_, caches) = step(
            &model,
            &[&IDS[..4]],
            vec![SequenceCache::default()],
            &device,
        );
        let switches = name.contains("long positions");
        assert!(!model.must_restart(&caches[0], 4), "{name}");
        assert_eq!(model.must_restart(&caches[0], 5), switches, "{name}");
        let (_, caches) = step(&model, &[&IDS], vec![SequenceCache::default()], &device);
        assert!(!model.must_restart(&caches[0], 9), "{name}");
    }
}

#[test]
fn sequences_end_where_positions_do() {
    let device = Device::flex();
    let model = causal(&config(rows().remove(0).1), FloatDType::F32, &device);
    let (_, caches) = step(&model, &[&[1; 64]], vec![SequenceCache::default()], &device);
    let error = PackedBatch::continuing(model.description(), &[1], &[0, 1], caches, &device);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("65 tokens"), "{error}");
    let error = PackedBatch::continuing(model.description(), &[1], &[0, 1], Vec::new(), &device);
    assert!(error.unwrap_err().to_string().contains("0 caches"));
}

/// The tokens with the highest scores, one after the other.
fn greedy(model: &Model, prompt: &[u32], count: usize, device: &Device) -> Vec<u32> {
    let (mut ids, mut cache) = (prompt.to_vec(), SequenceCache::reaching(prompt.len()));
    for _ in 0..count {
        if model.must_restart(&cache, ids.len()) {
            cache = SequenceCache::reaching(ids.len());
        }
        let due = ids[cache.len()..].to_vec();
        let (last, mut caches) = step(model, &[&due], vec![cache], device);
        cache = caches.remove(0);
        let best = (0..last[0].len())
            .rev()
            .max_by(|a, b| last[0][*a].total_cmp(&last[0][*b]));
        ids.push(best.unwrap() as u32);
    }
    ids.split_off(prompt.len())
}

#[test]
fn greedy_tokens_are_the_reference_s() {
    let device = Device::flex();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/goldens/generation.json"
    );
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let mut tokens = 0;
    for (name, model) in models(FloatDType::F32, &device) {
        // The names of the reference's rows.
        let row = match name {
            "llama with biases and llama3 positions" => "llama_tied",
            "gemma3" => "gemma3_text",
            "phi3 with long positions" => "phi3_longrope",
            // That of the reference has weights of its own: see the tests of generation.
            name if name.contains("amba") => continue,
            other => other,
        };
        let cases = golden["greedy"].as_array().unwrap().iter();
        let plain = |case: &&Value| case["model"] == row && case["settings"] == json!({});
        let case = cases.clone().find(plain).unwrap_or_else(|| panic!("{row}"));
        let pairs = case["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .zip(case["ids"].as_array().unwrap());
        for (prompt, expected) in pairs {
            let (prompt, expected) = (ids(prompt), ids(expected));
            let found = greedy(&model, &prompt, expected.len(), &device);
            assert_eq!(found, expected, "{name}: {prompt:?}");
            tokens += expected.len();
        }
    }
    assert!(tokens > 800, "{tokens}");
}
