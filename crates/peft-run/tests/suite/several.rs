//! Several methods in one run.

use std::path::Path;

use peft_run::{
    Footprint, MergeOptions, OpenOptions, RunConfig, RunError, merge, open, plan, train,
};
use serde_json::{Value, json};

use crate::{
    common::cpu,
    resume::{assert_same, content},
    tiny::{config, workspace},
};

fn several(model: &Path, data: &Path, output: &Path, parts: Value) -> RunConfig {
    let mut config = config(model, data, output);
    config.method = "several".into();
    config.learning_rate = Some(1e-2);
    config.method_config.insert("parts".into(), parts);
    config
}

fn three() -> Value {
    json!([
        { "method": "lora", "r": 2, "layers": [1] },
        { "method": "sdctft", "target_modules": ["intermediate.dense"], "n_frequency": 30, "rate": 20.0 },
        { "method": "bottleneck", "layers": [0], "reduction_factor": 8.0 },
    ])
}

#[test]
fn parts_are_planned_trained_saved_opened_and_resumed() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let run = several(&model, &data, &output, three());
    let planned = plan(&run).unwrap();
    let report = train(&run, &mut ()).unwrap();
    assert!(report.selection.metrics["accuracy"] > 0.8, "{report:?}");
    // Each part trains what it would alone, on its own layers.
    let sites: Vec<String> = planned
        .modules
        .iter()
        .map(|group| group.name.clone())
        .collect();
    assert_eq!(planned.targets, 2 + 2 + 1, "{sites:?}");
    let file = std::fs::metadata(output.join("adapter_model.safetensors")).unwrap();
    assert_eq!(file.len(), planned.adapter_bytes);
    let text = std::fs::read_to_string(output.join("adapter_config.json")).unwrap();
    let saved: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(saved["peft_type"], "SEVERAL");
    assert_eq!(saved["parts"][0]["method"], "lora");
    assert_eq!(saved["parts"][0]["r"], 2);
    // It is opened by what its files say alone.
    let device = cpu();
    let opened = open(&OpenOptions {
        model: &model,
        adapter: Some(&output),
        any_base: false,
        task: None,
        base: Default::default(),
        device: &device,
    })
    .unwrap();
    let (method, attached) = opened.adapter.unwrap();
    assert_eq!(method.name(), "several");
    assert_eq!(attached.adapter_parameters, planned.trainable_parameters);
    // Interrupted, it goes on to the same bits.
    let again = dir.path().join("again");
    let mut stops = 0;
    loop {
        let run = RunConfig {
            resume: again.exists(),
            ..several(&model, &data, &again, three())
        };
        struct Stop(std::cell::Cell<usize>);
        impl peft_run::Progress for Stop {
            fn event(&mut self, _: &peft_run::Event) {}
            fn should_stop(&self) -> bool {
                self.0.set(self.0.get() + 1);
                self.0.get() > 9
            }
        }
        match train(&run, &mut Stop(0.into())) {
            Ok(second) => {
                assert_eq!(second, report);
                break;
            }
            Err(RunError::Interrupted { .. }) => stops += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stops > 2);
    assert_same(&content(&output), &content(&again));
}

#[test]
fn what_can_be_merged_is() {
    let (dir, model, data) = workspace();
    let parts = json!([
        { "method": "lora", "r": 2 },
        { "method": "bitfit", "target_modules": ["intermediate.dense.bias"] },
    ]);
    let output = dir.path().join("out");
    train(&several(&model, &data, &output, parts), &mut ()).unwrap();
    let (merged, device) = (dir.path().join("merged"), cpu());
    let report = merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
    assert_eq!(report.merged, 4 + 2);
    // A module in a slot changes no weight.
    let slots = dir.path().join("slots");
    train(&several(&model, &data, &slots, three()), &mut ()).unwrap();
    let error = merge(&MergeOptions::new(
        &model,
        &slots,
        &dir.path().join("no"),
        &device,
    ));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("inserts a module"), "{error}");
}

#[test]
fn parts_keep_how_they_start_and_what_follows_from_the_model() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let parts = json!([
        { "method": "ia3", "layers": [1] },
        { "method": "ln_tuning" },
        { "method": "ssf", "norms": false, "target_modules": ["query"], "layers": [0] },
        { "method": "prompt", "num_virtual_tokens": 2, "prompt_tuning_init": "RANDOM" },
        {
            "method": "lora", "r": 2, "init_lora_weights": "gaussian",
            "target_modules": ["attention.output.dense"], "layers": [0],
        },
    ]);
    let mut run = several(&model, &data, &output, parts);
    run.steps = Some(3);
    train(&run, &mut ()).unwrap();
    let settings = std::fs::read_to_string(output.join("run.toml")).unwrap();
    for asked in ["RANDOM", "gaussian"] {
        assert!(settings.contains(asked), "{settings}");
    }
    let text = std::fs::read_to_string(output.join("adapter_config.json")).unwrap();
    let saved: Value = serde_json::from_str(&text).unwrap();
    // Without them the factors of a feed-forward layer would be on what it gives.
    let inner = &saved["parts"][0]["feedforward_modules"];
    assert_eq!(inner, &json!(r".*\.layer\.\d+\.output\.dense"), "{saved}");
    // Layers cannot stand beside such a pattern, so those that are named are listed.
    let listed = &saved["parts"][0]["target_modules"];
    let of_layer = |name: &str| format!("bert.encoder.layer.1.{name}");
    let names = ["attention.self.key", "attention.self.value", "output.dense"];
    assert_eq!(listed, &json!(names.map(of_layer)), "{saved}");
    let opened = open(&OpenOptions {
        model: &model,
        adapter: Some(&output),
        any_base: false,
        task: None,
        base: Default::default(),
        device: &cpu(),
    });
    assert!(opened.is_ok());
}

#[test]
fn parts_that_cannot_be_together_are_refused() {
    let (dir, model, data) = workspace();
    let refused = |parts: Value| {
        let run = several(&model, &data, &dir.path().join("out"), parts);
        train(&run, &mut ()).unwrap_err().to_string()
    };
    for (parts, told) in [
        (json!([]), "no `parts`"),
        (json!([3]), "part 1"),
        (json!([{ "r": 2 }]), "names no `method`"),
        (
            json!([{ "method": "lora", "rank": 2 }]),
            "no setting `rank`",
        ),
        (json!([{ "method": "lora", "rate": 0 }]), "not above 0"),
        (json!([{ "method": "vera" }]), "train it alone"),
        (json!([{ "method": "sift" }]), "train it alone"),
        (json!([{ "method": "head" }]), "adapts nothing"),
        (
            json!([{ "method": "lora" }, { "method": "dora" }]),
            "in two parts",
        ),
        (
            json!([{ "method": "lora", "target_modules": ["qery"] }]),
            "qery",
        ),
        (json!([{ "method": "several", "parts": [] }]), "no `parts`"),
        (
            json!([{ "method": "lora", "layers": [7] }]),
            "nothing that lora adapts is in layer 7",
        ),
        (
            json!([{ "method": "ssf", "target_modules": ["query"] }]),
            "beside its targets",
        ),
    ] {
        let error = refused(parts.clone());
        assert!(error.contains(told), "{parts}: {error}");
    }
    let mut run = several(&model, &data, &dir.path().join("out"), three());
    run.layers = vec![0];
    let error = train(&run, &mut ()).unwrap_err().to_string();
    assert!(error.contains("of their own"), "{error}");
}

#[test]
fn a_footprint_is_what_a_file_holds() {
    let (dir, model, data) = workspace();
    let run = several(&model, &data, &dir.path().join("out"), three());
    let prepared = peft_run::Prepared::new(&run).unwrap();
    let footprint: Footprint = prepared.footprint(&run).unwrap();
    assert_eq!(footprint.sites.len(), 5);
    let first = footprint.of_layers(|layer| layer == 0).unwrap();
    let second = footprint.of_layers(|layer| layer == 1).unwrap();
    assert_eq!(first + second, footprint.values());
    assert_eq!(footprint.of_layers(|_| false), None);
}

/// Biases of a head that is trained in full are no adapters' beside it; and what a part leaves to its method is no other
/// setting than the same spelled out.
#[test]
fn biases_are_a_part_and_the_same_parts_go_on() {
    let (dir, model, data) = workspace();
    let parts = json!([
        { "method": "bitfit" },
        { "method": "lora", "layers": [1], "r": 2 },
        { "method": "bottleneck", "rate": 2, "reduction_factor": 8, "init_weights": "zero" },
    ]);
    let output = dir.path().join("out");
    let mut run = several(&model, &data, &output, parts);
    run.steps = Some(2);
    train(&run, &mut ()).unwrap();
    run.adapter = Some(output);
    run.output = dir.path().join("more");
    train(&run, &mut ()).unwrap();
    run.method_config["parts"][1]["r"] = json!(3);
    run.output = dir.path().join("other");
    let error = train(&run, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`parts`"), "{error}");
}
