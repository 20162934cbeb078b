//! Agreement with PEFT 0.21.2, by fixtures that `tools/make_fixtures.py` wrote with it.

use std::fs;
use std::path::{Path, PathBuf};

use peft_format::adapter::{WEIGHTS_NAME, split_key};
use peft_format::config::{AdapterConfig, CONFIG_NAME};
use peft_format::targets::PatternMap;
use peft_format::{AdapterFile, Dtype, save_adapter};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

#[test]
fn every_target_case_matches_as_in_peft() {
    let json: Value = serde_json::from_slice(&fs::read(fixture("targets.json")).unwrap()).unwrap();
    let paths: Vec<&str> = json["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap())
        .collect();
    let cases = json["cases"].as_array().unwrap();
    assert!(cases.len() > 500);
    for case in cases {
        let mut fields = case["config"].as_object().unwrap().clone();
        fields.insert("peft_type".into(), "LORA".into());
        let config = AdapterConfig::from_fields(Path::new("x.json"), fields).unwrap();
        let matcher = config.target().compile().unwrap();
        let hits: Vec<usize> = (0..paths.len())
            .filter(|&i| matcher.matches(paths[i]).unwrap())
            .collect();
        assert_eq!(serde_json::json!(hits), case["hits"], "{}", case["config"]);
    }
    for case in json["lookups"].as_array().unwrap() {
        let keys = case["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| k.as_str().unwrap());
        let map = PatternMap::new("rank_pattern", keys.zip(0usize..)).unwrap();
        for (path, expected) in paths.iter().zip(case["found"].as_array().unwrap()) {
            let found = map.get(path).unwrap().copied();
            assert_eq!(
                serde_json::json!(found),
                *expected,
                "{} {path}",
                case["keys"]
            );
        }
    }
}

#[test]
fn an_adapter_that_peft_saved_survives_byte_for_byte() {
    let folder = fixture("lora");
    let config = AdapterConfig::read(&folder).unwrap();
    let adapter = AdapterFile::read(&folder).unwrap();
    assert_eq!(
        config.write_to_string(),
        fs::read_to_string(folder.join(CONFIG_NAME)).unwrap()
    );
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("copy");
    save_adapter(&out, &config, &adapter.tensors).unwrap();
    for name in [CONFIG_NAME, WEIGHTS_NAME] {
        assert_eq!(
            fs::read(out.join(name)).unwrap(),
            fs::read(folder.join(name)).unwrap()
        );
    }
}

#[test]
fn its_keys_and_options_are_understood() {
    let folder = fixture("lora");
    let config = AdapterConfig::read(&folder).unwrap();
    let adapter = AdapterFile::read(&folder).unwrap();
    let suffixes = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];
    let ranks = config.pattern_field::<usize>("rank_pattern").unwrap();
    let mut adapted = 0;
    for (key, tensor) in &adapter.tensors {
        assert_eq!(tensor.dtype, Dtype::F32);
        let Some(split) = split_key(key, &suffixes) else {
            assert!(key.starts_with("base_model.model.classifier."), "{key}");
            continue;
        };
        assert!(config.target().matches(split.module).unwrap());
        if split.suffix == "lora_A.weight" {
            let r = config.usize_field("r").unwrap();
            assert_eq!(
                tensor.shape,
                [*ranks.get(split.module).unwrap().unwrap_or(&r), 6]
            );
        }
        adapted += 1;
    }
    assert_eq!(adapted, 12);
    let known = ["r", "lora_alpha", "rank_pattern", "alpha_pattern"];
    let error = config.reject_unsupported(&known).unwrap_err().to_string();
    assert!(error.contains("use_dora"), "{error}");
    config
        .reject_unsupported(&[&known[..], &["use_dora"]].concat())
        .unwrap();
}
