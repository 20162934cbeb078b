//! Adapter folders of MLX-LM.

use std::path::Path;

use peft_format::{
    AdapterConfig, AdapterFile, Dtype, HostTensor, LoraPair, MlxAdapter, SafetensorsWriter,
    TensorSpec, mlx::MlxModule,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn module(rank: usize, columns: usize, rows: usize, scale: f32, dora: bool) -> MlxModule {
    let values = |len: usize| (0..len).map(|i| (0.7 * i as f32).sin()).collect();
    MlxModule {
        pair: LoraPair {
            rank,
            a: values(rank * columns),
            b: values(rows * rank),
            scale,
        },
        lengths: dora.then(|| values(rows)),
    }
}

fn adapter(modules: Vec<(&str, MlxModule)>) -> MlxAdapter {
    let named = modules.into_iter();
    MlxAdapter {
        blocks: 4,
        base_model: Some("base".into()),
        dropout: 0.25,
        modules: named
            .map(|(name, module)| (name.to_owned(), module))
            .collect(),
    }
}

/// `scale B A`, `[out, in]`, of a module of a folder, by PEFT's rules.
fn update(folder: &Path, module: &str) -> Vec<f32> {
    let config = AdapterConfig::read(folder).unwrap();
    let file = AdapterFile::read(folder).unwrap();
    let key = |suffix| format!("base_model.model.{module}.{suffix}");
    let (a, b) = (
        file.tensor(&key("lora_A.weight")).unwrap(),
        file.tensor(&key("lora_B.weight")).unwrap(),
    );
    let rank = config.pattern_field::<usize>("rank_pattern").unwrap();
    let rank = rank.get(module).unwrap().copied();
    let rank = rank.unwrap_or(config.usize_field("r").unwrap());
    let alpha = config.pattern_field::<f64>("alpha_pattern").unwrap();
    let alpha = alpha.get(module).unwrap().copied();
    let alpha = alpha.unwrap_or(config.f64_field("lora_alpha").unwrap());
    assert_eq!(a.shape[0], rank);
    product(
        &a.to_f32().unwrap(),
        &b.to_f32().unwrap(),
        rank,
        alpha / rank as f64,
    )
}

fn product(a: &[f32], b: &[f32], rank: usize, scale: f64) -> Vec<f32> {
    let columns = a.len() / rank;
    let rows = b.chunks_exact(rank);
    rows.flat_map(|row| {
        (0..columns).map(move |column| {
            let terms = row.iter().enumerate();
            let sum: f64 = terms
                .map(|(k, b)| f64::from(b * a[k * columns + column]))
                .sum();
            (scale * sum) as f32
        })
    })
    .collect()
}

#[test]
fn ranks_and_scales_of_modules_become_one_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let written = adapter(vec![
        (
            "model.layers.2.self_attn.q_proj",
            module(2, 6, 8, 1.5, false),
        ),
        ("model.layers.3.mlp.down_proj", module(4, 5, 6, 1.5, false)),
        (
            "model.layers.3.self_attn.q_proj",
            module(1, 6, 8, -0.5, false),
        ),
        ("lm_head", module(3, 6, 9, 2.0, false)),
    ]);
    written.write(dir.path()).unwrap();
    let text = std::fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        config,
        json!({
            "fine_tune_type": "lora",
            "num_layers": 2,
            "lora_parameters": {
                "rank": 4, "scale": 1.5, "dropout": 0.25,
                "keys": ["lm_head", "mlp.down_proj", "self_attn.q_proj"],
            },
            "model": "base",
        })
    );
    let read = AdapterConfig::read(dir.path()).unwrap();
    assert_eq!(read.peft_type(), "LORA");
    assert_eq!(read.task_type(), Some("CAUSAL_LM"));
    assert_eq!(read.base_model_name_or_path(), Some("base"));
    assert_eq!(read.f64_field("lora_dropout").unwrap(), 0.25);
    for (name, MlxModule { pair, .. }) in &written.modules {
        let expected = product(&pair.a, &pair.b, pair.rank, f64::from(pair.scale));
        for (found, expected) in update(dir.path(), name).iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{name}: {found} for {expected}"
            );
        }
    }
    // Another program's checkpoint of a run, by itself.
    let copy = dir.path().join("0000100_adapters.safetensors");
    std::fs::copy(dir.path().join("adapters.safetensors"), &copy).unwrap();
    assert_eq!(
        AdapterFile::read(&copy).unwrap().tensors,
        AdapterFile::read(dir.path()).unwrap().tensors
    );
}

#[test]
fn dora_keeps_its_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let q = module(2, 6, 8, 2.0, true);
    adapter(vec![("transformer.h.0.attn.c_attn", q.clone())])
        .write(dir.path())
        .unwrap();
    let config = AdapterConfig::read(dir.path()).unwrap();
    assert!(config.bool_field("use_dora").unwrap());
    let file = AdapterFile::read(dir.path()).unwrap();
    let key = "base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector";
    assert_eq!(file.tensor(key).unwrap().to_f32(), q.lengths);
}

#[test]
fn what_mlx_would_not_load_is_not_written() {
    let q = "model.layers.0.self_attn.q_proj";
    let good = || module(2, 6, 8, 1.0, false);
    let cases = [
        (adapter(vec![]), "at least one module"),
        (
            adapter(vec![(q, module(2, 6, 8, 0.0, false))]),
            "other than 0",
        ),
        (adapter(vec![(q, module(0, 6, 8, 1.0, false))]), "rank 0"),
        (
            adapter(vec![
                (q, good()),
                ("model.layers.1.mlp.up_proj", module(2, 6, 8, 1.0, true)),
            ]),
            "for all modules or none",
        ),
        (
            adapter(vec![("model.layers.4.mlp.up_proj", good())]),
            "block 4",
        ),
        (adapter(vec![("score", good())]), "`lm_head`"),
    ];
    for (adapter, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let error = adapter.write(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// Write a folder of a configuration and tensors of ones.
fn folder(dir: &Path, config: &Value, tensors: &[(&str, &[usize])]) {
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let specs = tensors.iter();
    let specs = specs.map(|(name, shape)| TensorSpec::new(*name, Dtype::F32, *shape));
    let path = dir.join("adapters.safetensors");
    let mut writer =
        SafetensorsWriter::create(&path, specs.collect(), &Default::default()).unwrap();
    for spec in writer.order().cloned().collect::<Vec<_>>() {
        let ones = vec![1.0; spec.shape.iter().product()];
        writer
            .write(&spec.name, &HostTensor::from_f32(spec.shape, &ones).bytes)
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn what_is_no_adapter_of_mlx_says_why() {
    let parameters = json!({"rank": 2, "scale": 20.0});
    let config = |kind: Value, parameters: Value| json!({"fine_tune_type": kind, "num_layers": 1, "lora_parameters": parameters});
    let lora = || config("lora".into(), parameters.clone());
    let (a, b) = (
        "model.layers.0.mlp.up_proj.lora_a",
        "model.layers.0.mlp.up_proj.lora_b",
    );
    let pair: &[(&str, &[usize])] = &[(a, &[4, 2]), (b, &[2, 6])];
    let vera = config("vera".into(), parameters.clone());
    let full = config("full".into(), parameters.clone());
    let no_scale = config("lora".into(), json!({"rank": 2}));
    let no_object = config("lora".into(), json!([1]));
    let refused = |config: &Value, tensors: &[(&str, &[usize])], words: &str| {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path(), config, tensors);
        let error = AdapterConfig::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    refused(&full, pair, "mlx_lm.fuse");
    refused(&vera, pair, "`fine_tune_type`");
    refused(&no_scale, pair, "`lora_parameters.scale`");
    refused(&no_object, pair, "`lora_parameters`");
    refused(
        &lora(),
        &[(a, &[4, 2])],
        "lora_a [in, rank] and lora_b [rank, out]",
    );
    refused(&lora(), &[(a, &[4, 3]), (b, &[2, 6])], "lora_b [rank, out]");
    refused(&lora(), &[(a, &[8, 4, 2]), (b, &[8, 2, 6])], "dense model");
    refused(&lora(), &[("model.norm.weight", &[4])], "another tensor");
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &lora(), pair);
    assert_eq!(
        AdapterConfig::read(dir.path())
            .unwrap()
            .f64_field("lora_alpha")
            .unwrap(),
        40.0
    );
    std::fs::remove_file(dir.path().join("adapters.safetensors")).unwrap();
    let error = AdapterConfig::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("0000100_adapters.safetensors"), "{error}");
}

proptest! {
    /// Whatever the names and shapes, reading is an answer or an error.
    #[test]
    fn no_folder_panics(
        tensors in prop::collection::btree_map(
            "(model\\.)?(layers|h)?\\.?[0-9]{0,2}\\.?(q|wte|lm_head)?\\.?(lora_a|lora_b|m|x)",
            prop::collection::vec(0usize..4, 0..4),
            0..6,
        ),
        kind in prop::sample::select(vec!["lora", "dora", "full", ""]),
        scale in prop::sample::select(vec![json!(1.0), json!("x"), json!(null), json!(1e308)]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({"fine_tune_type": kind, "lora_parameters": {"scale": scale}});
        let tensors: Vec<(&str, &[usize])> =
            tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        folder(dir.path(), &config, &tensors);
        let _ = AdapterConfig::read(dir.path());
        let _ = AdapterFile::read(dir.path());
    }
}
