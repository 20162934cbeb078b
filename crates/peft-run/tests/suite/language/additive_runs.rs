//! Whole runs of additive methods: planned, trained, resumed, opened, merged or refused, and gone on with.

use std::fs;

use peft_run::{
    AdapterFormat, ConvertOptions, MergeOptions, RunConfig, RunError, convert,
    core::format::{AdapterFile, TargetModules},
    data::Task,
    merge, plan, train, verify,
};
use serde_json::{Value, json};

use super::runs::{adapter_bytes, config, measured, workspace};
use crate::{common::cpu, resume::Stop};

/// A method with settings, its model, and whether it can be merged.
fn runs() -> Vec<(&'static str, Value, &'static str, bool)> {
    vec![
        ("ia3", json!({}), "llama_tiny", true),
        ("ia3", json!({}), "gpt2_tiny", true),
        ("ia3", json!({}), "mamba_tiny", true),
        ("ln_tuning", json!({}), "gpt2_tiny", true),
        ("ln_tuning", json!({}), "mamba_tiny", true),
        ("ssf", json!({}), "gpt2_tiny", true),
        ("parallel", json!({}), "llama_tiny", false),
        (
            "serial_parallel",
            json!({ "serial_size": 3, "parallel_size": 2 }),
            "llama_tiny",
            false,
        ),
        (
            "prefix",
            json!({ "num_virtual_tokens": 4 }),
            "llama_tiny",
            false,
        ),
        (
            "prefix",
            json!({ "num_virtual_tokens": 4, "prefix_projection": true, "encoder_hidden_size": 6 }),
            "gpt2_tiny",
            false,
        ),
        (
            "prompt",
            json!({ "num_virtual_tokens": 5 }),
            "llama_tiny_tied",
            false,
        ),
        (
            "prompt",
            json!({ "num_virtual_tokens": 5 }),
            "mamba_tiny",
            false,
        ),
        (
            "p_tuning",
            json!({ "num_virtual_tokens": 3, "encoder_hidden_size": 8 }),
            "gpt2_tiny",
            false,
        ),
    ]
}

fn run_of(method: &str, settings: &Value, base: &str) -> (tempfile::TempDir, RunConfig) {
    let (dir, model, data) = workspace(base);
    let output = dir.path().join("whole");
    let mut run = config(&model, &data, &output, method);
    run.target_modules = TargetModules::Unspecified;
    run.steps = Some(40);
    for (key, value) in settings.as_object().unwrap() {
        run.method_config.insert(key.clone(), value.clone());
    }
    (dir, run)
}

#[test]
fn runs_train_them_resume_and_their_files_work() {
    for (method, settings, base, merges) in runs() {
        let what = format!("{method} {settings} on {base}");
        let trains_more = match method {
            // Rows and the first layer once, the second layer for each of two attentions.
            "prefix" if settings["prefix_projection"] == true => {
                Some(4 * 16 + 16 * 6 + 6 + 2 * (6 * 32 + 32))
            }
            "p_tuning" => Some(3 * 16 + (16 * 8 + 8) + (8 * 8 + 8) + (8 * 16 + 16)),
            _ => None,
        };
        let (dir, mut run) = run_of(method, &settings, base);
        let (model, data, output) = (run.model.clone(), run.data.clone(), run.output.clone());
        let planned = plan(&run).unwrap_or_else(|error| panic!("{what}: {error}"));
        train(&run, &mut ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let size = fs::metadata(output.join("adapter_model.safetensors"))
            .unwrap()
            .len();
        assert_eq!(planned.adapter_bytes, size, "{what}");
        let values = |folder: &std::path::Path| -> usize {
            let tensors = AdapterFile::read(folder).unwrap().tensors.into_values();
            tensors.map(|one| one.shape.iter().product::<usize>()).sum()
        };
        let trained = planned.trainable_parameters;
        match trains_more {
            // Of a network that makes what is saved.
            Some(more) => assert_eq!(trained, more, "{what}"),
            None => assert_eq!(trained, values(&output), "{what}"),
        }

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
            after.loss < before.loss - 0.02,
            "{what}: {after:?} {before:?}"
        );
        let device = cpu();
        let report = verify(&model, &output, &device).unwrap();
        assert!(report.is_good(), "{what}: {:?}", report.problems);
        assert_eq!(report.mergeable, merges, "{what}");
        let merged = dir.path().join("merged");
        let done = merge(&MergeOptions::new(&model, &output, &merged, &device));
        match merges {
            true => {
                done.unwrap_or_else(|error| panic!("{what}: {error}"));
                let (_, dense) = measured(&merged, None, &data);
                assert!(
                    (dense.loss - after.loss).abs() < 1e-5,
                    "{what}: {dense:?} {after:?}"
                );
            }
            false => {
                let error = done.unwrap_err().to_string();
                assert!(error.contains("cannot be merged"), "{what}: {error}");
            }
        }

        // Trained on, from where it is.
        let on = dir.path().join("on");
        let mut again = config(&model, &data, &on, method);
        again.target_modules = TargetModules::Unspecified;
        again.adapter = Some(output.clone());
        again.steps = Some(10);
        let planned = plan(&again).unwrap_or_else(|error| panic!("{what}: {error}"));
        train(&again, &mut ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(planned.trainable_parameters, values(&on), "{what}");
        let (_, further) = measured(&model, Some(&on), &data);
        assert!(
            further.loss < after.loss + 0.2,
            "{what}: {further:?} {after:?}"
        );
        let keys = |folder: &std::path::Path| -> Vec<String> {
            AdapterFile::read(folder)
                .unwrap()
                .tensors
                .into_keys()
                .collect()
        };
        assert_eq!(keys(&on), keys(&output), "{what}");
    }
}

#[test]
fn what_would_do_nothing_is_refused() {
    let refused = |method: &str, settings: Value, base: &str, change: &dyn Fn(&mut RunConfig)| {
        let (_dir, mut run) = run_of(method, &settings, base);
        change(&mut run);
        train(&run, &mut ()).unwrap_err().to_string()
    };
    let targets = |names: &'static [&'static str]| {
        move |run: &mut RunConfig| {
            let names = names.iter().map(|name| (*name).to_owned());
            run.target_modules = TargetModules::List(names.collect());
        }
    };
    let none = |_: &mut RunConfig| {};
    for (error, part) in [
        (
            refused(
                "ia3",
                json!({ "feedforward_modules": ["downproj"] }),
                "llama_tiny",
                &none,
            ),
            "downproj",
        ),
        (
            refused(
                "prefix",
                json!({}),
                "llama_tiny",
                &targets(&["after_attention"]),
            ),
            "keys_values",
        ),
        (
            refused("prefix", json!({}), "mamba_tiny", &none),
            "keys_values",
        ),
        (
            refused(
                "prompt",
                json!({}),
                "llama_tiny",
                &targets(&["keys_values"]),
            ),
            "prompt",
        ),
        (
            refused(
                "prompt",
                json!({ "prompt_tuning_init": "TEXT" }),
                "llama_tiny",
                &none,
            ),
            "SAMPLE_VOCAB",
        ),
        (
            refused(
                "prompt",
                json!({ "num_virtual_tokens": 0 }),
                "llama_tiny",
                &none,
            ),
            "num_virtual_tokens",
        ),
        (
            refused(
                "serial_parallel",
                json!({ "serial_size": 0, "parallel_size": 0 }),
                "llama_tiny",
                &none,
            ),
            "both sizes",
        ),
        (
            refused("ln_tuning", json!({}), "llama_tiny", &targets(&["q_proj"])),
            "q_proj",
        ),
    ] {
        assert!(error.contains(part), "{error}");
    }
    // Where no bias could take the shift.
    let (dir, run) = run_of("ssf", &json!({}), "llama_tiny");
    train(&run, &mut ()).unwrap();
    let merged = dir.path().join("merged");
    let error = merge(&MergeOptions::new(&run.model, &run.output, &merged, &cpu())).unwrap_err();
    assert!(
        error.to_string().contains("has none in the base"),
        "{error}"
    );
}

/// The head of a classification comes along into AdapterHub's files; what has no place there is told with a way out that is
/// one.
#[test]
fn conversions_say_what_can_be_done() {
    let converted = |run: &RunConfig, to| {
        let to = ConvertOptions {
            model: &run.model,
            adapter: &run.output,
            output: &run.output.with_extension("converted"),
            to,
            any_base: false,
            overwrite: false,
            device: &cpu(),
        };
        convert(&to)
    };
    let trained = |method: &str, base: &str, task: Task| {
        let (dir, mut run) = run_of(method, &json!({}), base);
        (run.task, run.steps) = (task, Some(2));
        if task == Task::Classify {
            crate::files::write_rows(&run.data).unwrap();
            run.data_format = Some(peft_run::data::Format::Csv);
        }
        train(&run, &mut ()).unwrap();
        (dir, run)
    };
    let (_dir, run) = trained("bottleneck", "llama_tiny", Task::Classify);
    let report = converted(&run, AdapterFormat::AdapterHub).unwrap();
    assert_eq!((report.saved, report.relative_error), (1, 0.0));
    let (_dir, run) = trained("parallel", "llama_tiny", Task::CausalLm);
    let error = converted(&run, AdapterFormat::AdapterHub)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("beside_feed_forward` stands") && error.contains("after_feed_forward"),
        "{error}"
    );
    // Merging would lose the shifts, for the layers have no biases.
    let (_dir, run) = trained("ssf", "mamba_tiny", Task::CausalLm);
    let error = converted(&run, AdapterFormat::Lora)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("keep the adapter beside its base"),
        "{error}"
    );
}
