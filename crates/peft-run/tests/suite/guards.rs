//! Runs that would learn nothing, or nonsense, stop and name the cause.

use std::path::Path;

use peft_run::{
    RunConfig, RunError, TrainError,
    core::format::{AdapterFile, Metadata, SafetensorsWriter, TensorSpec},
    data::Task,
    train,
};
use peft_train::BadTensor;

use crate::tiny::{config, workspace};

/// Change a tensor of a safetensors file.
fn poison(path: &Path, tensor: &str, change: impl Fn(&mut [f32])) {
    let mut file = AdapterFile::read(path).unwrap();
    let found = file.tensors.keys().find(|name| name.ends_with(tensor));
    let name = found.expect("the tensor is there").clone();
    let stored = &mut file.tensors[&name];
    let mut values = stored.to_f32().unwrap();
    change(&mut values);
    stored.bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let specs = file
        .tensors
        .iter()
        .map(|(name, t)| TensorSpec::new(name, t.dtype, &*t.shape))
        .collect();
    let mut writer = SafetensorsWriter::create(path, specs, &Metadata::new()).unwrap();
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        writer.write(&name, &file.tensors[&name].bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn failure(config: &RunConfig) -> RunError {
    train(config, &mut ()).unwrap_err()
}

#[test]
fn nan_in_the_checkpoint_is_named() {
    let (dir, model, data) = workspace();
    poison(
        &model.join("model.safetensors"),
        "layer.1.output.dense.weight",
        |values| values[3] = f32::NAN,
    );
    let error = failure(&config(&model, &data, &dir.path().join("out")));
    let RunError::BrokenBase {
        tensor, count: 1, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(
        tensor.ends_with("encoder.layer.1.output.dense.weight"),
        "{tensor}"
    );
    assert!(error.to_string().contains(tensor), "{error}");
}

#[test]
fn the_layer_that_overflows_is_named() {
    let (dir, model, data) = workspace();
    poison(
        &model.join("model.safetensors"),
        "layer.1.attention.output.LayerNorm.weight",
        |values| values.fill(1e38),
    );
    let output = dir.path().join("out");
    for recompute in [false, true] {
        let mut config = config(&model, &data, &output);
        config.recompute = recompute;
        let error = failure(&config);
        let RunError::Train(TrainError::NotFinite { step: 1, what, .. }) = &error else {
            panic!("{error}");
        };
        assert_eq!(what, &BadTensor::Output("bert.encoder.layer.1".into()));
    }
    // A run that broke down blocks nobody: with other settings it is simply started again.
    let (other, model, _) = workspace();
    let mut config = config(&model, &data, &output);
    config.steps = Some(1);
    train(&config, &mut ()).unwrap();
    drop(other);
}

#[test]
fn an_adapter_that_takes_no_part_is_named() {
    let (dir, model, data) = workspace();
    let mut config = config(&model, &data, &dir.path().join("out"));
    config.method_config.insert(
        "alpha_pattern".into(),
        // So small that the gradients underflow.
        serde_json::json!({ "layer.1.attention.self.value": 1e-60 }),
    );
    let error = failure(&config);
    let RunError::Train(TrainError::SilentAdapters { step: 10, modules }) = &error else {
        panic!("{error}");
    };
    assert_eq!(modules, &["bert.encoder.layer.1.attention.self.value"]);
    assert!(
        error.to_string().contains("exclude these modules"),
        "{error}"
    );
}

#[test]
fn adapters_that_did_not_move_are_named() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.steps = Some(3);
    config.learning_rate = Some(1e-60);
    let error = failure(&config);
    let RunError::Train(TrainError::NotMoved {
        step: 3, modules, ..
    }) = &error
    else {
        panic!("{error}");
    };
    assert_eq!(modules.len(), 4);
    assert!(
        modules[0].starts_with("bert.encoder.layer.0"),
        "{modules:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("and 1 more") && text.contains("`learning_rate`"),
        "{text}"
    );
    assert!(!output.join("adapter_config.json").exists());
}

#[test]
fn an_adapter_that_holds_nan_is_refused_by_name() {
    let (dir, model, data) = workspace();
    let first = dir.path().join("first");
    let mut config = config(&model, &data, &first);
    config.steps = Some(1);
    train(&config, &mut ()).unwrap();
    config.adapter = Some(first.clone());
    config.output = dir.path().join("second");
    for tensor in [
        "layer.0.attention.self.query.lora_B.weight",
        "classifier.weight",
    ] {
        let path = first.join("adapter_model.safetensors");
        let whole = std::fs::read(&path).unwrap();
        poison(&path, tensor, |values| values[0] = f32::INFINITY);
        let error = failure(&config).to_string();
        assert!(
            error.contains(tensor.trim_end_matches(".weight")),
            "{error}"
        );
        assert!(error.contains("not finite"), "{error}");
        assert!(error.contains(first.to_str().unwrap()), "{error}");
        assert!(!config.output.exists());
        std::fs::write(&path, whole).unwrap();
    }
}

#[test]
fn data_without_labels_is_refused() {
    let (dir, model, _) = workspace();
    let refused = |name: &str, content: &str, task: Task| {
        let data = dir.path().join(name);
        std::fs::write(&data, content).unwrap();
        let mut config = config(&model, &data, &dir.path().join("out"));
        config.task = task;
        if name == "zeros.csv" {
            config.label_column = Some("good,bad".into());
        }
        let error = failure(&config).to_string();
        assert!(error.contains("label"), "{error}");
        assert!(error.contains(name), "{error}");
    };
    refused(
        "empty.csv",
        "text,label\nword9,\nword8,\nword7,\n",
        Task::Classify,
    );
    refused(
        "one.csv",
        "text,label\nword9,a\nword8,a\nword7,a\n",
        Task::Classify,
    );
    let rows = "{\"text\": \"word9\", \"labels\": []}\n".repeat(20);
    refused("none.jsonl", &rows, Task::MultiLabel);
    let zeros = "text,good,bad\n".to_owned() + &"word9,0,0\n".repeat(20);
    refused("zeros.csv", &zeros, Task::MultiLabel);
}
