use std::fs;
use std::path::Path;

use indexmap::IndexMap;

use super::*;
use crate::HostTensor;
use crate::config::{AdapterConfig, CONFIG_NAME};

fn config(r: usize) -> AdapterConfig {
    AdapterConfig::builder("LORA")
        .field("r", r)
        .build()
        .unwrap()
}

fn tensors(value: f32) -> IndexMap<String, HostTensor> {
    [("l.q", [2, 1]), ("l.v", [1, 2])]
        .map(|(m, shape)| {
            (
                join_key(m, "lora_A.weight"),
                HostTensor::from_f32(shape, &[value; 2]),
            )
        })
        .into()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn keys_split_and_join() {
    let suffixes = ["weight", "lora_A.weight", "lora_B.weight"];
    let key = join_key("model.layers.0.q_proj", "lora_A.weight");
    let split = split_key(&key, &suffixes).unwrap();
    assert_eq!(
        (split.module, split.suffix),
        ("model.layers.0.q_proj", "lora_A.weight")
    );
    assert_eq!(
        split_key("base_model.model.lora_A.weight", &["lora_A.weight"]),
        None
    );
    assert_eq!(
        split_key("base_model.model..lora_A.weight", &["lora_A.weight"]),
        None
    );
    assert_eq!(split_key("q.lora_A.weight", &suffixes), None);
    assert_eq!(split_key(&key, &["lora_E"]), None);
    assert_eq!(split_key(&key, &[]), None);
    assert_eq!(strip_prefix("base_model.model.a.b"), Some("a.b"));
    assert_eq!(strip_prefix("prompt_embeddings"), None);
}

#[test]
fn a_new_folder_holds_two_files_and_is_replaced_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("out/adapter");
    for round in 1..3 {
        save_adapter(&folder, &config(round), &tensors(round as f32)).unwrap();
        assert_eq!(names(&folder), [CONFIG_NAME, WEIGHTS_NAME]);
        assert_eq!(
            AdapterConfig::read(&folder)
                .unwrap()
                .usize_field("r")
                .unwrap(),
            round
        );
        let adapter = AdapterFile::read(&folder).unwrap();
        assert_eq!(adapter.tensors, tensors(round as f32));
        assert_eq!(adapter.metadata["format"], "pt");
        assert_eq!(names(folder.parent().unwrap()), ["adapter"]);
    }
}

#[test]
fn other_files_in_the_folder_stay() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("README.md"), "mine").unwrap();
    for (r, value) in [(1, 1.0), (2, 2.0), (2, 3.0)] {
        save_adapter(root.path(), &config(r), &tensors(value)).unwrap();
        assert_eq!(names(root.path()), ["README.md", CONFIG_NAME, WEIGHTS_NAME]);
        assert_eq!(
            AdapterFile::read(root.path()).unwrap().tensors,
            tensors(value)
        );
        assert_eq!(
            AdapterConfig::read(root.path())
                .unwrap()
                .usize_field("r")
                .unwrap(),
            r
        );
    }
}

#[test]
fn a_failed_save_keeps_the_old_adapter() {
    let root = tempfile::tempdir().unwrap();
    let wrong: IndexMap<_, _> = [("x".to_owned(), HostTensor::from_f32([3], &[1.0]))].into();
    let new = root.path().join("new");
    assert!(
        save_adapter(&new, &config(1), &wrong)
            .unwrap_err()
            .to_string()
            .contains("`x`")
    );
    assert!(!new.exists());
    fs::write(root.path().join("README.md"), "").unwrap();
    save_adapter(root.path(), &config(1), &tensors(1.0)).unwrap();
    assert!(save_adapter(root.path(), &config(2), &wrong).is_err());
    assert_eq!(
        AdapterFile::read(root.path()).unwrap().tensors,
        tensors(1.0)
    );
    assert_eq!(names(root.path()), ["README.md", CONFIG_NAME, WEIGHTS_NAME]);
    assert!(save_adapter(&root.path().join("README.md"), &config(1), &tensors(1.0)).is_err());
}

#[test]
fn missing_weights_say_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let message = || AdapterFile::read(root.path()).unwrap_err().to_string();
    assert!(
        message().contains("there is no `adapter_model.safetensors`"),
        "{}",
        message()
    );
    fs::write(root.path().join("adapter_model.bin"), "x").unwrap();
    assert!(message().contains("neither a zip archive"), "{}", message());
    assert!(AdapterFile::read(&root.path().join("adapter_model.bin")).is_err());
    let adapter = AdapterFile::new(tensors(0.0));
    let error = adapter
        .tensor("base_model.model.l.q.lora_B.weight")
        .unwrap_err()
        .to_string();
    assert!(error.contains("l.q.lora_A.weight"), "{error}");
}

#[test]
fn keys_with_the_adapters_name_are_those_without() {
    let suffixes = ["lora_A.weight", "lora_B.weight", "lora_E", "bias"];
    let named = |key| split_named_key(key, &suffixes).map(|(k, name)| (k.module, k.suffix, name));
    assert_eq!(
        named("base_model.model.m.q.lora_A.default.weight"),
        Some(("m.q", "lora_A.weight", "default"))
    );
    assert_eq!(
        named("base_model.model.q.lora_E.mine"),
        Some(("q", "lora_E", "mine"))
    );
    for (key, suffix) in [
        ("e.lora_embedding_A.mine", "lora_embedding_A"),
        ("e.token_adapter.trainable_tokens_delta.mine", TOKENS),
    ] {
        assert_eq!(
            split_named_key(key, &["lora_embedding_A", TOKENS])
                .map(|(k, name)| (k.module, k.suffix, name)),
            Some(("e", suffix, "mine"))
        );
    }
    for other in [
        "base_model.model.q.lora_A.weight",
        "base_model.model.classifier.bias",
        "base_model.model.lora_A.default.weight",
        "base_model.model.q.lora_C.default.weight",
        "",
    ] {
        assert_eq!(named(other), None, "{other}");
    }
    let saved = |name| saved_name(name);
    assert_eq!(
        saved("classifier.modules_to_save.default.weight").as_deref(),
        Some("classifier.weight")
    );
    assert_eq!(
        saved("classifier.weight").as_deref(),
        Some("classifier.weight")
    );
    assert_eq!(saved("classifier.original_module.weight"), None);
    assert_eq!(
        saved("encoder.query.base_layer.bias").as_deref(),
        Some("encoder.query.bias")
    );
    for copy in [
        "m.embed.base_layer.weight",
        "m.embed.token_adapter.base_layer.weight",
    ] {
        assert_eq!(copied_name(copy).as_deref(), Some("m.embed.weight"));
    }
    assert_eq!(copied_name("m.embed.weight"), None);
    assert_eq!(copied_name("m.query.base_layer.bias"), None);
}

const TOKENS: &str = "token_adapter.trainable_tokens_delta";
