//! State-space models: folders of the first implementation, configurations as Python writes them, and what is refused.

use std::{fs, path::PathBuf};

use burn::tensor::{Device, FloatDType};
use peft_core::format::{Checkpoint, Dtype, SafetensorsWriter, TensorSpec};
use peft_models::{HeadKind, Model, ModelConfig, ModelFolder, Network, StateSpace};
use serde_json::{Map, Value, json};

use super::common::{IDS, logits};

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

fn config(value: Value) -> Result<ModelConfig, String> {
    let Value::Object(map) = value else {
        panic!("an object");
    };
    let path = PathBuf::from("config.json");
    ModelConfig::of(&path, &map).map_err(|error| error.to_string())
}

fn scores(folder: &std::path::Path) -> (Model, Vec<Vec<f64>>) {
    let device = Device::flex();
    let mut folder = ModelFolder::open(folder).unwrap();
    folder.set_dtype(FloatDType::F64);
    let (model, report) = Model::load(&folder, HeadKind::Language, 0, &device).unwrap();
    assert!(report.unused.is_empty(), "{report:?}");
    let found = logits(&model, &[&IDS, &[3, 4]], &device);
    (model, found)
}

/// The same tensors as the first implementation has them: it calls the table `embedding`, and writes the head that it shares.
#[test]
fn folders_of_the_first_implementation_are_the_same_models() {
    for (name, own) in [
        (
            "mamba_tiny",
            json!({ "d_state": 4, "d_conv": 4, "expand": 2, "dt_rank": 2 }),
        ),
        (
            "mamba2_plain",
            json!({ "layer": "Mamba2", "d_state": 4, "headdim": 8, "ngroups": 1 }),
        ),
    ] {
        let from = goldens().join(name);
        let temp = tempfile::tempdir().unwrap();
        let fields = json!({
            "d_model": 16, "n_layer": 2, "vocab_size": 27, "pad_vocab_size_multiple": 16,
            "ssm_cfg": own, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true,
            "attn_layer_idx": [], "d_intermediate": 0,
        });
        fs::write(temp.path().join("config.json"), fields.to_string()).unwrap();
        let checkpoint = Checkpoint::open(&from).unwrap();
        let table = "backbone.embeddings.weight";
        let renamed = |name: &str| match name == table {
            true => "backbone.embedding.weight".to_owned(),
            false => name.to_owned(),
        };
        let mut tensors: Vec<(String, String)> = checkpoint
            .names()
            .map(|name| (renamed(name), name.to_owned()))
            .collect();
        tensors.push(("lm_head.weight".into(), table.into()));
        let spec = |(new, old): &(String, String)| {
            TensorSpec::new(new, Dtype::F32, checkpoint.info(old).unwrap().shape)
        };
        let file = temp.path().join("model.safetensors");
        let specs = tensors.iter().map(spec).collect();
        let mut writer = SafetensorsWriter::create(&file, specs, &Default::default()).unwrap();
        let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
        for new in order {
            let (_, old) = tensors.iter().find(|(name, _)| *name == new).unwrap();
            let values = checkpoint.to_f32(old).unwrap();
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            writer.write(&new, &bytes).unwrap();
        }
        writer.finish().unwrap();
        let (model, found) = scores(temp.path());
        let (wanted, expected) = scores(&from);
        assert_eq!(found, expected, "{name}");
        let kinds = [&model, &wanted].map(|model| model.description().model_type.clone());
        assert_eq!(kinds[0], kinds[1]);
    }
}

#[test]
fn configurations_with_infinities_are_read_as_python_and_transformers_write_them() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("config.json");
    let fields = |limit: &str| {
        format!(
            r#"{{"model_type": "mamba2", "vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1,
            "num_heads": 4, "head_dim": 4, "n_groups": 1, "time_step_limit": {limit}}}"#
        )
    };
    for (limit, expected) in [
        ("[0.0, Infinity]", f64::INFINITY),
        (r#"[0.0, {"__float__": "Infinity"}]"#, f64::INFINITY),
        ("[0, 0.5]", 0.5),
    ] {
        fs::write(&path, fields(limit)).unwrap();
        let ModelConfig::Mamba(config) = ModelConfig::read(&path).unwrap() else {
            panic!("a state-space model");
        };
        let StateSpace::Dual { step_limit, .. } = config.space else {
            panic!("Mamba-2");
        };
        assert_eq!(step_limit, (0.0, expected));
    }
    for limit in [
        "[0.0, NaN]",
        "[0.5, 0.1]",
        "[-Infinity, 1]",
        "[1]",
        "[0, \"x\"]",
    ] {
        fs::write(&path, fields(limit)).unwrap();
        let error = ModelConfig::read(&path).unwrap_err().to_string();
        assert!(error.contains("time_step_limit"), "{limit}: {error}");
    }
}

#[test]
fn what_makes_another_model_is_refused_by_name() {
    let base = |more: Value| {
        let mut all = Map::new();
        for (key, value) in [
            ("d_model", json!(16)),
            ("n_layer", json!(2)),
            ("vocab_size", json!(32)),
            ("ssm_cfg", json!({})),
        ] {
            all.insert(key.into(), value);
        }
        all.extend(more.as_object().unwrap().clone());
        config(Value::Object(all))
    };
    assert!(base(json!({})).is_ok());
    for (more, word) in [
        (json!({ "rms_norm": false }), "rms_norm"),
        (json!({ "attn_layer_idx": [1] }), "attn_layer_idx"),
        (json!({ "d_intermediate": 8 }), "d_intermediate"),
        (json!({ "ssm_cfg": { "layer": "Mamba3" } }), "Mamba3"),
        (
            json!({ "ssm_cfg": { "layer": "Mamba2", "headdim": 5 } }),
            "heads of 5",
        ),
        (
            json!({ "ssm_cfg": { "layer": "Mamba2", "headdim": 8, "rmsnorm": false } }),
            "rmsnorm",
        ),
        (
            json!({ "ssm_cfg": { "layer": "Mamba2", "headdim": 8, "norm_before_gate": true } }),
            "norm_before_gate",
        ),
        (
            json!({ "ssm_cfg": { "layer": "Mamba2", "headdim": 8, "ngroups": 3 } }),
            "3 groups",
        ),
    ] {
        let error = base(more).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let mamba2 = json!({"model_type": "mamba2", "vocab_size": 32, "hidden_size": 8,
        "num_hidden_layers": 1, "num_heads": 3, "head_dim": 4});
    let error = config(mamba2).unwrap_err();
    assert!(error.contains("3 heads of 4"), "{error}");
    let other = json!({"model_type": "zamba", "vocab_size": 32, "hidden_size": 8});
    let error = config(other).unwrap_err();
    assert!(error.contains("zamba"), "{error}");
}

/// With fewer blocks, or without biases that are there, it would be another model, and worse without a word.
#[test]
fn tensors_that_the_configuration_denies_are_refused() {
    let from = goldens().join("mamba_tiny");
    for (field, value, tensor) in [
        ("num_hidden_layers", json!(1), "backbone.layers.1."),
        (
            "use_conv_bias",
            json!(false),
            "backbone.layers.0.mixer.conv1d.bias",
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        fs::copy(
            from.join("model.safetensors"),
            temp.path().join("model.safetensors"),
        )
        .unwrap();
        let text = fs::read_to_string(from.join("config.json")).unwrap();
        let mut fields: Value = serde_json::from_str(&text).unwrap();
        fields[field] = value;
        fs::write(temp.path().join("config.json"), fields.to_string()).unwrap();
        let folder = ModelFolder::open(temp.path()).unwrap();
        let layout = folder.layout(HeadKind::Language).unwrap();
        let loaded = Model::load(&folder, HeadKind::Language, 0, &Device::flex());
        for error in [folder.check(&layout).unwrap_err(), loaded.unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains(field) && error.contains(tensor), "{error}");
        }
    }
}
