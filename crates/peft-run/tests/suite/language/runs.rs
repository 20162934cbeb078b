//! Whole runs of models with a language head: trained, evaluated, saved, opened, merged, resumed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use peft_run::{
    BaseOptions, DeviceChoice, MergeOptions, OpenOptions, OpenSetOptions, RunConfig, RunError,
    TaskFile,
    core::format::{AdapterConfig, AdapterFile, TargetModules},
    data::{Dataset, LoadOptions, Task},
    evaluate, merge, methods, open, open_set, train,
};
use tempfile::TempDir;

use crate::{
    common::{cpu, goldens},
    resume::{OF_STATES, Stop},
};

/// A folder of a tiny model with a tokenizer, and texts that can be learned.
pub fn workspace(name: &str) -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for (from, files) in [
        (name, ["config.json", "model.safetensors"]),
        ("llama_tiny", ["tokenizer.json", "tokenizer_config.json"]),
    ] {
        for file in files {
            fs::copy(goldens().join(from).join(file), model.join(file)).unwrap();
        }
    }
    let words = ["cat", "dog", "owl", "fox", "hen", "pig"];
    let mut texts = String::new();
    for row in 0..120 {
        let word = |place: usize| words[(row * (place + 1) + row / 7) % words.len()];
        let text = format!("the {} and the {} ran.", word(0), word(1));
        texts += &format!("{}\n", serde_json::json!({ "text": text }));
    }
    let data = dir.path().join("texts.jsonl");
    fs::write(&data, texts).unwrap();
    (dir, model, data)
}

pub fn config(model: &Path, data: &Path, output: &Path, method: &str) -> RunConfig {
    let mut config = RunConfig::new(model, data, Task::CausalLm, method, output);
    config.device = DeviceChoice::Cpu;
    config.target_modules = TargetModules::AllLinear;
    config.steps = Some(60);
    config.batch_size = 8;
    config.learning_rate = Some(2e-2);
    config.max_length = 32;
    config
}

pub fn adapter_bytes(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("adapter_model.safetensors")).unwrap()
}

/// The model of a folder with an adapter: its evaluation on texts.
pub fn measured(
    model: &Path,
    adapter: Option<&Path>,
    data: &Path,
) -> (TaskFile, peft_run::Evaluation) {
    let device = cpu();
    let opened = open(&OpenOptions {
        model,
        adapter,
        any_base: false,
        task: Some(Task::CausalLm),
        base: BaseOptions::default(),
        device: &device,
    })
    .unwrap();
    let load = LoadOptions::new(Task::CausalLm, 32);
    let (rows, _) = Dataset::load(data, &load, &opened.tokenizer).unwrap();
    let objective = opened.task.objective();
    let found = evaluate(&opened.model, &rows, objective.as_ref(), 5, &device).unwrap();
    (opened.task, found)
}

#[test]
fn lora_learns_texts_and_its_files_work() {
    for name in ["llama_tiny", "llama_tiny_tied", "mamba_tiny"] {
        let (dir, model, data) = workspace(name);
        let output = dir.path().join("out");
        let report = train(&config(&model, &data, &output, "lora"), &mut ()).unwrap();
        let (_, before) = measured(&model, None, &data);
        let (_, after) = measured(&model, Some(&output), &data);
        assert!(
            after.loss < before.loss - 0.3,
            "{name}: {after:?} {before:?}"
        );
        let perplexity = after.metrics["perplexity"];
        assert!((perplexity - after.loss.exp()).abs() < 1e-9 * perplexity);
        assert!(report.selection.metrics.contains_key("perplexity"));
        let written = AdapterConfig::read(&output).unwrap();
        assert_eq!(written.task_type(), Some("CAUSAL_LM"), "{name}");
        for (key, tensor) in &AdapterFile::read(&output).unwrap().tensors {
            assert!(key.starts_with("base_model.model."), "{key}");
            assert!(key.contains("lora_"), "{key}");
            assert!(tensor.to_f32().unwrap().iter().any(|v| *v != 0.0), "{key}");
        }

        let merged = dir.path().join("merged");
        let device = cpu();
        merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
        let (_, whole) = measured(&merged, None, &data);
        assert!(
            (whole.loss - after.loss).abs() < 1e-5,
            "{name}: {whole:?} {after:?}"
        );
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let (dir, model, data) = workspace("llama_tiny");
    let whole = dir.path().join("whole");
    train(&config(&model, &data, &whole, "lora"), &mut ()).unwrap();
    let parts = dir.path().join("parts");
    let mut settings = config(&model, &data, &parts, "lora");
    for steps in [7, 1, 20] {
        let error = train(&settings, &mut Stop::after(steps)).unwrap_err();
        assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
        settings.resume = true;
    }
    train(&settings, &mut ()).unwrap();
    assert_eq!(adapter_bytes(&whole), adapter_bytes(&parts));
}

#[test]
fn adapters_that_learned_from_texts_of_other_lengths_share_a_model() {
    let (dir, model, data) = workspace("llama_tiny");
    let (short, long) = (dir.path().join("short"), dir.path().join("long"));
    for (folder, length) in [(&short, 8), (&long, 24)] {
        let mut settings = config(&model, &data, folder, "lora");
        (settings.steps, settings.max_length) = (Some(2), length);
        train(&settings, &mut ()).unwrap();
    }
    let device = cpu();
    for adapters in [
        [("s", &*short), ("l", &*long)],
        [("l", &long), ("s", &short)],
    ] {
        let set = open_set(&OpenSetOptions {
            model: &model,
            adapters: &adapters,
            any_base: false,
            task: None,
            base: BaseOptions::default(),
            device: &device,
        });
        assert_eq!(set.unwrap().task.max_length, 24);
    }
}

/// A method has nothing to adapt in some models, and says so.
fn has_nothing(method: &str, model: &str) -> bool {
    match model {
        "llama_tiny" => method == "bitfit" || OF_STATES.contains(&method),
        _ => ["bottleneck", "parallel", "serial_parallel", "prefix"].contains(&method),
    }
}

/// Methods that insert modules, which no checkpoint has a place for.
const NOT_FOLDED: [&str; 10] = [
    "bottleneck",
    "parallel",
    "serial_parallel",
    "prefix",
    "prompt",
    "p_tuning",
    "initial_state",
    "state_offset",
    "additional_scan",
    "affix",
];

/// Methods that know by themselves what they adapt, which is not linear layers alone.
const OF_PARTS: [&str; 10] = [
    "bitfit",
    "bottleneck",
    "parallel",
    "serial_parallel",
    "ia3",
    "ln_tuning",
    "ssf",
    "prefix",
    "prompt",
    "p_tuning",
];

#[test]
fn every_method_trains_on_a_llama_and_a_mamba() {
    for name in ["llama_tiny", "mamba_tiny"] {
        let (dir, model, data) = workspace(name);
        for entry in methods::METHODS {
            let output = dir.path().join(entry.name);
            let mut settings = config(&model, &data, &output, entry.name);
            settings.steps = Some(3);
            settings.learning_rate = None;
            let list =
                |names: &[&str]| TargetModules::List(names.iter().map(|n| n.to_string()).collect());
            settings.target_modules = match (entry.name, name) {
                (method, _) if OF_PARTS.contains(&method) => TargetModules::Unspecified,
                (method, _) if OF_STATES.contains(&method) => TargetModules::Unspecified,
                // Layers of one size.
                ("lorta", "llama_tiny") => list(&["q_proj", "o_proj"]),
                ("lorta", _) => list(&["out_proj"]),
                (_, "llama_tiny") => TargetModules::Unspecified,
                // Those of the step widths are too small for some.
                _ => list(&["in_proj", "out_proj"]),
            };
            // Few enough for the tiny model's matrices.
            for (key, value) in [
                ("n_frequency", 24),
                ("block_size", 2),
                ("r", 2),
                ("num_heads", 4),
                ("warm_up_steps", 2),
            ] {
                if entry.keys.contains(&key) {
                    settings.method_config.insert(key.into(), value.into());
                }
            }
            let trained = train(&settings, &mut ());
            if has_nothing(entry.name, name) {
                let error = trained.unwrap_err().to_string();
                assert!(error.contains("match"), "{name}, {}: {error}", entry.name);
                continue;
            }
            trained.unwrap_or_else(|error| panic!("{name}, {}: {error}", entry.name));
            let (_, with) = measured(&model, Some(&output), &data);
            let merged = dir.path().join(format!("{}_merged", entry.name));
            let device = cpu();
            match merge(&MergeOptions::new(&model, &output, &merged, &device)) {
                Ok(_) => {
                    let (_, whole) = measured(&merged, None, &data);
                    let off = (whole.loss - with.loss).abs();
                    assert!(off < 1e-5, "{name}, {}: {whole:?} {with:?}", entry.name);
                }
                Err(error) => {
                    // A shift wants a bias.
                    let said = match entry.name {
                        "ssf" => "has none in the base",
                        method => {
                            assert!(NOT_FOLDED.contains(&method), "{name}: {error}");
                            "cannot be merged"
                        }
                    };
                    assert!(error.to_string().contains(said), "{error}");
                }
            }
        }
    }
}
