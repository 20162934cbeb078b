//! What must hold of adapted state-space models whatever was learned: nothing changes at the start (T8), steps give what whole
//! passes do (T10), and rows before a sequence are the states behind them (T2).

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use peft_run::{
    core::{
        AdapterContext, AttachOptions, DefaultTargets, Output, attach,
        format::{Checkpoint, Dtype, HostTensor, TargetModules, TargetSpec},
        kernels::{key_of, normal},
    },
    methods,
    models::{Model, ModelFolder, Network, PackedBatch, SequenceCache},
    train,
};
use serde_json::{Value, json};

use super::{
    Texts, adapted, load,
    runs::{config, workspace},
    write_adapter,
};
use crate::common::{assert_close, cpu, goldens, json as golden, values};

const CHANNELS: usize = 32;
const STATES: usize = 4;
const KERNEL: usize = 4;
const RANK: usize = 2;

fn texts(of: &str) -> Texts {
    let cases = golden(of);
    Texts::of(cases["sequences"].as_array().unwrap())
}

/// The methods of states with settings for a tiny model, and whether one of Mamba-2 has them.
fn cases() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("initial_state", json!({}), true),
        ("state_offset", json!({}), true),
        ("affix", json!({}), true),
        ("additional_scan", json!({ "extra_states": 3 }), false),
        (
            "sdlora",
            json!({ "selector": "random", "channels": 0.25, "r": 2 }),
            false,
        ),
        ("ssm_components", json!({ "preset": "all", "r": 2 }), true),
        ("ssm_components", json!({ "preset": "ssm_full" }), true),
        ("lorap_x", json!({ "r": 2, "lora_alpha": 2 }), true),
        ("prodial", json!({ "r": 2, "block_width": 4 }), true),
    ]
}

#[test]
fn t8_fresh_adapters_leave_logits_to_the_bit() {
    let device = cpu();
    for (name, dual) in [("mamba_tiny", false), ("mamba2_plain", true)] {
        let path = goldens().join(name);
        let sites = ModelFolder::open(&path)
            .unwrap()
            .description()
            .layout()
            .sites;
        let texts = texts("ssm/cases.json");
        let before = texts.logits(&load(&path, FloatDType::F32, &device), &device);
        for (method, own, fits) in cases() {
            if method == "affix" || (dual && !fits) {
                continue;
            }
            let entry = methods::by_name(method).unwrap();
            let mut settings = (entry.defaults)();
            settings.extend(own.as_object().unwrap().clone());
            let built = (entry.build)(&settings).unwrap();
            for (key, value) in built.config_of_model(&sites, &|_| TargetModules::Unspecified) {
                settings.entry(key).or_insert(value);
            }
            let built = (entry.build)(&settings).unwrap();
            let DefaultTargets::Named(names) = built.default_targets() else {
                panic!("{method} names its targets");
            };
            let names = names.iter().map(|name| (*name).to_owned());
            let model = load(&path, FloatDType::F32, &device);
            let options = AttachOptions {
                targets: &TargetSpec::new(TargetModules::List(names.collect())),
                names: &model.description().names(),
                modules_to_save: &[],
                heads: &[],
                seed: 3,
                gradients: None,
            };
            let (fresh, report) = attach(model, built.as_ref(), &options).unwrap();
            assert!(report.adapter_parameters > 0);
            let after = texts.logits(&fresh, &device);
            assert_eq!(before, after, "{name}, {method}");
        }
    }
}

/// The logits behind every token of a sequence, token by token.
fn by_steps(model: &Model, ids: &[u32], device: &Device) -> Vec<f64> {
    let mut caches = vec![SequenceCache::reaching(ids.len())];
    let mut all = Vec::new();
    // Two tokens at once, and then one by one.
    for part in [&ids[..2]].into_iter().chain(ids[2..].chunks(1)) {
        let starts = [0, part.len()];
        let input = model.description();
        let batch = PackedBatch::continuing(input, part, &starts, caches, device).unwrap();
        let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference())
        else {
            panic!("no logits");
        };
        all.extend(values(head.logits(hidden)));
        caches = batch.into_caches();
    }
    all
}

#[test]
fn t10_steps_of_adapted_models_are_whole_passes() {
    let device = cpu();
    let ids: Vec<u32> = (0..13).map(|i| (7 * i * i + 3) % 32).collect();
    for (name, dual) in [("mamba_tiny", false), ("mamba2_tiny", true)] {
        let (dir, folder, data) = workspace(name);
        for (number, (method, own, fits)) in cases().into_iter().enumerate() {
            if dual && !fits {
                continue;
            }
            let output = dir.path().join(number.to_string());
            let mut settings = config(&folder, &data, &output, method);
            settings.target_modules = TargetModules::Unspecified;
            (settings.steps, settings.learning_rate) = (Some(3), Some(5e-2));
            for (key, value) in own.as_object().unwrap() {
                settings.method_config.insert(key.clone(), value.clone());
            }
            train(&settings, &mut ()).unwrap_or_else(|e| panic!("{name}, {method}: {e}"));
            let plain = load(&folder, FloatDType::F64, &device);
            let model = adapted(plain.clone(), &output, &device);
            let one = Texts::of([&json!(ids)]);
            let whole = one.logits(&model, &device);
            assert_ne!(whole, one.logits(&plain, &device), "{method}");
            let found = by_steps(&model, &ids, &device);
            assert_close(method, &found, &whole[32..], 1e-10);
        }
    }
}

fn doubles(file: &Checkpoint, name: &str) -> Vec<f64> {
    let values = file.to_f32(name).unwrap();
    values.into_iter().map(f64::from).collect()
}

/// `[out, in]` times a vector.
fn product(weight: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weight.chunks(x.len());
    rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
        .collect()
}

/// The states behind rows of channels, `[rows · D]`, of one block from zeros on.
fn states_behind(file: &Checkpoint, layer: usize, rows: &[f64]) -> Vec<f64> {
    let of = |part: &str| doubles(file, &format!("backbone.layers.{layer}.mixer.{part}"));
    let (kernel, bias) = (of("conv1d.weight"), of("conv1d.bias"));
    let (x_proj, dt_proj) = (of("x_proj.weight"), of("dt_proj.weight"));
    let (dt_bias, a_log) = (of("dt_proj.bias"), of("A_log"));
    let padded = [vec![0.0; (KERNEL - 1) * CHANNELS], rows.to_vec()].concat();
    let mut state = vec![0.0; CHANNELS * STATES];
    for window in padded.windows(KERNEL * CHANNELS).step_by(CHANNELS) {
        let u: Vec<f64> = (0..CHANNELS)
            .map(|d| {
                let taps = (0..KERNEL).map(|k| kernel[d * KERNEL + k] * window[k * CHANNELS + d]);
                let x = taps.sum::<f64>() + bias[d];
                x / (1.0 + (-x).exp())
            })
            .collect();
        let chosen = product(&x_proj, &u);
        let steps = product(&dt_proj, &chosen[..RANK]);
        for (d, u) in u.iter().enumerate() {
            let step = (steps[d] + dt_bias[d]).exp().ln_1p();
            for n in 0..STATES {
                let h = &mut state[d * STATES + n];
                let decay = (-step * a_log[d * STATES + n].exp()).exp();
                *h = decay * *h + step * u * chosen[RANK + n];
            }
        }
    }
    state
}

fn tensor(values: &[f64], shape: [usize; 2]) -> HostTensor {
    HostTensor {
        dtype: Dtype::F64,
        shape: shape.to_vec(),
        bytes: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

/// Of three inputs of the convolution and the states behind some rows nothing more is to be known; the states alone are not
/// enough.
#[test]
fn t2_rows_before_a_sequence_are_the_inputs_and_states_behind_them() {
    let (dir, device, texts) = (tempfile::tempdir().unwrap(), cpu(), texts("ssm/cases.json"));
    let path = goldens().join("mamba_tiny");
    let file = Checkpoint::open(&path).unwrap();
    let rows = 5;
    let (mut affix, mut states, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    for layer in 0..2 {
        let block = format!("backbone.layers.{layer}");
        let drawn = normal(key_of(1, &block, 0), rows * CHANNELS);
        let drawn: Vec<f64> = drawn.into_iter().map(f64::from).collect();
        let state = states_behind(&file, layer, &drawn);
        let last = &drawn[(rows + 1 - KERNEL) * CHANNELS..];
        affix.push((
            format!("{block}.affix.affix"),
            tensor(&drawn, [rows, CHANNELS]),
        ));
        states.push((
            format!("{block}.state_start.initial_state"),
            tensor(&state, [CHANNELS, STATES]),
        ));
        inputs.push((
            format!("{block}.conv_start.initial_state"),
            tensor(last, [KERNEL - 1, CHANNELS]),
        ));
    }
    let config = |peft_type: &str, targets: &[&str], more: Value| {
        let mut config = json!({
            "peft_type": peft_type, "task_type": "CAUSAL_LM", "target_modules": targets,
        });
        let map = config.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        config
    };
    let logits = |name: &str, config: &Value, tensors: Vec<(String, HostTensor)>| {
        let folder: &Path = &dir.path().join(name);
        write_adapter(folder, config, tensors);
        let model = adapted(load(&path, FloatDType::F64, &device), folder, &device);
        texts.logits(&model, &device)
    };
    let own = json!({ "affix_tokens": rows });
    let wanted = logits("affix", &config("AFFIX", &["affix"], own), affix);
    let both = config("INITIAL_STATE", &["state_start", "conv_start"], json!({}));
    let found = logits("both", &both, [states.clone(), inputs].concat());
    assert_close("both", &found, &wanted, 1e-10);
    let alone = config("INITIAL_STATE", &["state_start"], json!({}));
    let short = logits("alone", &alone, states);
    let apart = short.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) > 1e-2);
}
