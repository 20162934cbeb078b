//! AdaLoRA: ranks fall while it trains, and files hold what is left.

use std::{collections::BTreeMap, path::Path};

use burn::{module::Module, tensor::FloatDType};
use peft_run::{
    RunConfig, RunError,
    core::{
        format::{AdapterConfig, AdapterFile},
        load_adapter, read_adapter,
    },
    methods,
    models::{HeadSpec, ModelFolder, SequenceModel},
    train,
};
use peft_train::TrainerState;
use serde_json::Value;

use crate::{common::*, tiny};

fn adalora(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = tiny::config(model, data, output);
    config.method = "adalora".into();
    for (key, value) in [("init_r", 4), ("target_r", 2), ("deltaT", 2)] {
        config.method_config.insert(key.into(), value.into());
    }
    config
}

/// Triplets that each module keeps, by the file's configuration.
fn pattern(folder: &Path) -> BTreeMap<String, Vec<bool>> {
    let config = AdapterConfig::read(folder).unwrap();
    let pattern = config.fields()["rank_pattern"].clone();
    serde_json::from_value(pattern).unwrap()
}

#[test]
fn ranks_fall_to_the_target_and_the_file_holds_what_is_left() {
    let (dir, model, data) = tiny::workspace();
    let output = dir.path().join("out");
    let report = train(&adalora(&model, &data, &output), &mut ()).unwrap();
    let last = output.join("last");
    let ranks = pattern(&last);
    let kept = |kept: &Vec<bool>| kept.iter().filter(|kept| **kept).count();
    assert_eq!(ranks.values().map(kept).sum::<usize>(), 2 * ranks.len());
    let config = AdapterConfig::read(&last).unwrap();
    for (key, value) in [
        ("total_step", report.steps),
        ("tinit", report.steps / 10),
        ("tfinal", 3 * report.steps / 10),
    ] {
        assert_eq!(config.fields()[key], Value::from(value), "{key}");
    }
    let file = AdapterFile::read(&last).unwrap();
    for (name, mask) in &ranks {
        let tensor = file.tensor(&format!("base_model.model.{name}")).unwrap();
        assert_eq!(tensor.shape, [kept(mask), 1], "{name}");
        let values = tensor.bytes.chunks_exact(4);
        let nonzero = values.filter(|bytes| **bytes != [0; 4]).count();
        assert_eq!(nonzero, kept(mask), "a kept triplet is not pruned: {name}");
    }
}

#[test]
fn the_file_computes_what_the_pruned_adapter_computes() {
    let device = cpu();
    let dir = goldens().join("adapters/adalora_pruned");
    let config = AdapterConfig::read(&dir).unwrap();
    // The same adapter with pruned triplets in place, as while it is trained.
    let mut whole = config.clone();
    whole.set("rank_pattern", Value::Null).unwrap();
    let masks = pattern(&dir);
    let method = methods::from_config(&whole).unwrap();
    let mut adapter = read_adapter(&dir, whole, method.as_ref()).unwrap();
    for (module, tensors) in &mut adapter.modules {
        let mask = &masks[&format!("{module}.lora_E")];
        for (suffix, tensor) in tensors.iter_mut() {
            let columns = suffix == "lora_B";
            let rows = if columns {
                tensor.transposed()
            } else {
                tensor.clone()
            };
            let width = rows.shape[1] * 4;
            let mut held = rows.bytes.chunks_exact(width);
            let bytes: Vec<u8> = mask
                .iter()
                .flat_map(|kept| match kept {
                    true => held.next().unwrap().to_vec(),
                    false => vec![0; width],
                })
                .collect();
            let full = peft_run::core::HostTensor {
                shape: vec![mask.len(), rows.shape[1]],
                bytes,
                ..rows
            };
            *tensor = if columns { full.transposed() } else { full };
        }
    }
    let base = model("bert", FloatDType::F64, &device);
    let names = base.names();
    let (full, _) = load_adapter(base, &adapter, method.as_ref(), &names, &device).unwrap();
    let expected = json("adapters/adalora_pruned/expected.json");
    let wanted = flat(&expected["logits_f64"]);
    assert_close("in place", &logits(&full, "bert", &device), &wanted, 1e-11);
}

#[test]
fn training_goes_on_from_a_pruned_adapter_with_its_ranks() {
    let (dir, model, data) = tiny::workspace();
    let first = dir.path().join("first");
    train(&adalora(&model, &data, &first), &mut ()).unwrap();
    let second = dir.path().join("second");
    let mut config = tiny::config(&model, &data, &second);
    config.method = "adalora".into();
    config.adapter = Some(first.join("last"));
    config.steps = Some(6);
    train(&config, &mut ()).unwrap();
    assert_eq!(pattern(&second.join("last")), pattern(&first.join("last")));

    // The model of the files computes what the report says of it.
    let opened = ModelFolder::open(&model).unwrap();
    let head = HeadSpec {
        outputs: 2,
        seed: 1,
    };
    let (base, _) = SequenceModel::load(&opened, &head, &cpu()).unwrap();
    let config = AdapterConfig::read(&second.join("last")).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&second.join("last"), config, method.as_ref()).unwrap();
    let names = base.names();
    let before = base.num_params();
    let (adapted, report) = load_adapter(base, &adapter, method.as_ref(), &names, &cpu()).unwrap();
    assert!(adapted.num_params() > before);
    let held: usize = (report.targets.iter())
        .map(|target| target.cost.parameters)
        .sum();
    assert_eq!(held, report.adapter_parameters);
}

#[test]
fn the_memory_of_a_run_is_in_its_checkpoint_and_not_in_its_files() {
    let (dir, model, data) = tiny::workspace();
    let output = dir.path().join("out");
    let mut config = adalora(&model, &data, &output);
    config.save_steps = Some(1);
    struct Stop(u64);
    impl peft_run::Progress for Stop {
        fn event(&mut self, event: &peft_run::Event) {
            if let peft_run::Event::Step { step, .. } = event {
                self.0 = *step;
            }
        }
        fn should_stop(&self) -> bool {
            self.0 == 4
        }
    }
    let error = train(&config, &mut Stop(0)).unwrap_err();
    assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
    let state = TrainerState::read(&output.join("checkpoint/tensors.safetensors")).unwrap();
    let names = ["a", "b", "e"].map(|field| format!("{field}_sensitivity"));
    for name in names {
        let has = |path: &String| path.ends_with(&name);
        assert!(state.memory.keys().any(has), "{:?}", state.memory.keys());
    }
    let file = AdapterFile::read(&output.join("last")).unwrap();
    let suffixes = ["lora_A", "lora_B", "lora_E", "weight", "bias"];
    let known = |key: &String| suffixes.iter().any(|suffix| key.ends_with(suffix));
    assert!(file.tensors.keys().all(known), "{:?}", file.tensors.keys());
}

#[test]
fn a_schedule_without_room_is_refused_before_training() {
    let (dir, model, data) = tiny::workspace();
    let mut config = adalora(&model, &data, &dir.path().join("out"));
    config.steps = Some(5);
    config.method_config.insert("tinit".into(), 4.into());
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(
        error.contains("tinit = 4") && error.contains("5 steps"),
        "{error}"
    );
}
