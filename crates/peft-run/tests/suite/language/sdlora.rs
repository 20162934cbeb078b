//! SDLoRA: a warm-up that chooses, everything put back, and two methods trained as one.

use std::path::Path;

use peft_run::{
    MergeOptions, RunConfig, RunError,
    core::format::{AdapterConfig, AdapterFile, TargetModules},
    merge, plan, train, verify,
};
use serde_json::json;

use super::runs::{adapter_bytes, config, measured, workspace};
use crate::{common::cpu, resume::Stop};

/// Of 32 channels and 4 states.
fn settings(model: &Path, data: &Path, output: &Path, selector: &str) -> RunConfig {
    let mut settings = config(model, data, output, "sdlora");
    settings.target_modules = TargetModules::Unspecified;
    settings.steps = Some(12);
    settings.learning_rate = Some(1e-2);
    for (key, value) in [
        ("selector", json!(selector)),
        ("channels", json!(0.125)),
        ("states", json!(0.5)),
        ("warm_up_steps", json!(7)),
        ("r", json!(2)),
    ] {
        settings.method_config.insert(key.into(), value);
    }
    settings
}

const SELECTORS: [&str; 6] = [
    "change",
    "decay",
    "gradient_change",
    "fisher",
    "loss_change",
    "random",
];

#[test]
fn every_selector_learns_and_merges_and_its_plan_is_right() {
    let (dir, model, data) = workspace("mamba_tiny");
    let (_, before) = measured(&model, None, &data);
    let mut adapters = Vec::new();
    for selector in SELECTORS {
        let output = dir.path().join(selector);
        let settings = settings(&model, &data, &output, selector);
        let planned = plan(&settings).unwrap();
        // Of a layer 8 entries, 4 columns of B and C, and LoRA of 32 inputs and 16 outputs.
        assert_eq!(planned.trainable_parameters, 2 * (8 + 4 * 8 + 2 * 48));
        // Chance needs to see nothing.
        let warm_up = if selector == "random" { 0 } else { 7 };
        assert_eq!(planned.warm_up_steps, warm_up, "{selector}");
        train(&settings, &mut ()).unwrap();
        let bytes = adapter_bytes(&output);
        assert_eq!(planned.adapter_bytes, bytes.len() as u64, "{selector}");
        let written = AdapterConfig::read(&output).unwrap();
        assert_eq!(written.fields()["state_size"], 4);
        let (_, after) = measured(&model, Some(&output), &data);
        assert!(after.loss < before.loss - 0.05, "{selector}: {after:?}");
        let merged = dir.path().join(format!("{selector}_merged"));
        let device = cpu();
        let report = merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
        // Decays, x_proj and out_proj of two layers.
        assert_eq!(report.merged, 6, "{selector}");
        let (_, whole) = measured(&merged, None, &data);
        assert!((whole.loss - after.loss).abs() < 1e-5, "{selector}");
        let checked = verify(&model, &output, &device).unwrap();
        assert!(checked.problems.is_empty(), "{:?}", checked.problems);
        adapters.push(bytes);
    }
    adapters.sort();
    adapters.dedup();
    assert!(adapters.len() > 3, "selectors choose alike");
}

/// T12 with the phases: what a run starts from after its warm-up is what it starts from without one.
#[test]
fn a_run_stopped_in_any_phase_goes_on_to_the_same_bits() {
    let (dir, model, data) = workspace("mamba_tiny");
    for selector in ["change", "loss_change"] {
        let whole = dir.path().join(selector);
        train(&settings(&model, &data, &whole, selector), &mut ()).unwrap();
        // In the warm-up, at its end, at the first step after it, later.
        for (case, stops) in [&[0][..], &[3], &[7], &[2, 5, 4], &[9, 1]]
            .iter()
            .enumerate()
        {
            let output = dir.path().join(format!("{selector}{case}"));
            let mut settings = settings(&model, &data, &output, selector);
            for steps in *stops {
                let error = train(&settings, &mut Stop::after(*steps)).unwrap_err();
                let stopped = matches!(
                    error,
                    RunError::Interrupted { .. } | RunError::InterruptedBefore { .. }
                );
                assert!(stopped, "{error}");
                settings.resume = true;
            }
            train(&settings, &mut ()).unwrap();
            assert_eq!(adapter_bytes(&whole), adapter_bytes(&output), "{case}");
        }
    }
}

#[test]
fn only_what_was_chosen_is_in_the_file() {
    let (dir, model, data) = workspace("mamba_tiny");
    let output = dir.path().join("out");
    let mut settings = settings(&model, &data, &output, "change");
    settings
        .method_config
        .insert("budget".into(), "model".into());
    settings
        .method_config
        .insert("zero_channels".into(), json!(0.25));
    train(&settings, &mut ()).unwrap();
    let file = AdapterFile::read(&output).unwrap();
    let (mut entries, mut channels, mut zeroed) = (0, 0, 0);
    for (key, tensor) in &file.tensors {
        match key {
            key if key.ends_with("A_log.sdt_offsets") => entries += tensor.shape[0],
            key if key.ends_with("x_proj.sdt_weight") => {
                assert_eq!(tensor.shape[0], 8, "rows of B and C");
                channels += tensor.shape[1];
            }
            key if key.ends_with("A_log.sdt_zeroed") => zeroed += tensor.shape[0],
            key => assert!(
                key.contains("lora_") || key.contains("_places") || key.contains("_channels")
            ),
        }
    }
    // As many of the whole model as of all layers, wherever they are.
    assert_eq!((entries, channels, zeroed), (2 * 8, 2 * 4, 2 * 8));
    let device = cpu();
    let checked = verify(&model, &output, &device).unwrap();
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    // It can be trained on.
    let mut again = settings.clone();
    again.output = dir.path().join("again");
    again.adapter = Some(output.clone());
    again.method_config.clear();
    again.steps = Some(2);
    train(&again, &mut ()).unwrap();
    let after = AdapterFile::read(&again.output).unwrap();
    for (key, tensor) in &file.tensors {
        let same = after.tensors[key] == *tensor;
        let fixed = key.contains("_places") || key.contains("_channels") || key.contains("_zeroed");
        assert_eq!(same, fixed, "{key}");
    }
}

#[test]
fn what_a_layer_gives_up_is_left_to_it() {
    let (dir, model, data) = workspace("mamba_tiny");
    let output = dir.path().join("out");
    let mut settings = settings(&model, &data, &output, "change");
    for (key, value) in [
        ("budget", json!("model")),
        ("channels", json!(0.5)),
        ("zero_channels", json!(0.5)),
    ] {
        settings.method_config.insert(key.into(), value);
    }
    train(&settings, &mut ()).unwrap();
    measured(&model, Some(&output), &data);
}

#[test]
fn a_warm_up_that_would_choose_nothing_is_refused_before_it() {
    let (dir, model, data) = workspace("mamba_tiny");
    for targets in [&["x_proj", "out_proj"][..], &["in_proj"]] {
        let mut settings = settings(&model, &data, &dir.path().join("out"), "change");
        let names = targets.iter().map(|name| (*name).to_owned());
        settings.target_modules = TargetModules::List(names.collect());
        for error in [
            plan(&settings).unwrap_err().to_string(),
            train(&settings, &mut ()).unwrap_err().to_string(),
        ] {
            assert!(error.contains("A_log"), "{error}");
        }
        settings
            .method_config
            .insert("selector".into(), "random".into());
        plan(&settings).unwrap();
    }
}

#[test]
fn states_of_another_number_are_refused_before_anything_is_trained() {
    let (dir, model, data) = workspace("mamba_tiny");
    let mut settings = settings(&model, &data, &dir.path().join("out"), "change");
    settings
        .method_config
        .insert("state_size".into(), 16.into());
    let error = train(&settings, &mut ()).unwrap_err().to_string();
    assert!(error.contains("state_size"), "{error}");
    settings.method_config.remove("state_size");
    settings.target_modules = TargetModules::List(vec!["x_proj".into(), "D".into()]);
    let error = train(&settings, &mut ()).unwrap_err().to_string();
    assert!(error.contains(".D"), "{error}");
}
