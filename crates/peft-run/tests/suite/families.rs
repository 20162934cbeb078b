//! Every family computes what HF transformers computes.

use burn::tensor::FloatDType;
use peft_run::{
    core::AdapterContext,
    models::{HeadSpec, HeadState, ModelError, ModelFolder, SequenceModel},
};

use crate::common::*;

#[test]
fn logits_match_transformers() {
    let cases = json("cases.json");
    let device = cpu();
    for (name, case) in cases["models"].as_object().unwrap() {
        if case["kind"] != "sequence_classification" {
            continue;
        }
        let inputs = case["inputs"].as_str().unwrap();
        let expected = flat(&case["logits_f64"]);
        let single = logits(&model(name, FloatDType::F32, &device), inputs, &device);
        assert_close(&format!("{name} in f32"), &single, &expected, 1e-5);
        let double = logits(&model(name, FloatDType::F64, &device), inputs, &device);
        assert_close(&format!("{name} in f64"), &double, &expected, 1e-11);
    }
}

#[test]
fn a_bare_encoder_gives_hidden_states_and_gets_a_head() {
    let cases = json("cases.json");
    let case = &cases["models"]["bert_base"];
    let device = cpu();
    let folder = folder("bert_base", FloatDType::F32);
    assert_eq!(folder.head(), HeadState::Absent);
    let head = HeadSpec {
        outputs: 2,
        seed: 1,
    };
    let (model, report) = SequenceModel::load(&folder, &head, &device).unwrap();
    assert_eq!(report.created, ["classifier"]);
    assert!(report.unused.is_empty(), "{:?}", report.unused);
    let rows = rows(&cases, case["inputs"].as_str().unwrap());
    let batch = pack(model.config(), &rows, &device);
    let hidden = model.encoder.forward(&batch, &AdapterContext::inference());
    let first = hidden.narrow(0, 0, rows[0].0.len());
    let expected = flat(&case["last_hidden_state_row0_f64"]);
    assert_close("hidden states", &values(first), &expected, 1e-5);
}

#[test]
fn packing_rows_together_changes_nothing() {
    let device = cpu();
    let model = model("bert", FloatDType::F32, &device);
    let rows = rows(&json("cases.json"), "bert");
    let context = AdapterContext::inference();
    let together = values(model.forward(&pack(model.config(), &rows, &device), &context));
    for (index, row) in rows.iter().enumerate() {
        let batch = pack(model.config(), std::slice::from_ref(row), &device);
        let alone = values(model.forward(&batch, &context));
        assert_close("alone", &alone, &together[index * 3..index * 3 + 3], 1e-5);
    }
}

#[test]
fn a_head_of_another_size_is_refused() {
    let folder = folder("bert", FloatDType::F32);
    let head = HeadSpec {
        outputs: 2,
        seed: 1,
    };
    let error = SequenceModel::load(&folder, &head, &cpu()).unwrap_err();
    assert!(matches!(error, ModelError::Head { .. }));
    assert!(error.to_string().contains("3 outputs"), "{error}");
}

#[test]
fn sizes_that_no_tensor_confirms_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = goldens().join("models/bert_base");
    std::fs::copy(
        source.join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    let text = std::fs::read_to_string(source.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, size) in [
        ("hidden_size", 1 << 27),
        ("vocab_size", 1 << 27),
        ("num_hidden_layers", 4000),
    ] {
        let honest = config[key].take();
        config[key] = size.into();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let folder = ModelFolder::open(dir.path()).unwrap();
        let head = HeadSpec {
            outputs: 2,
            seed: 1,
        };
        let error = SequenceModel::load(&folder, &head, &cpu()).unwrap_err();
        assert!(error.to_string().contains("configuration"), "{error}");
        config[key] = honest;
    }
}

#[test]
fn rows_that_do_not_fit_are_errors() {
    let device = cpu();
    let folder = folder("bert", FloatDType::F32);
    let description = folder.description();
    for (ids, starts, word) in [
        (vec![1; 41], vec![0, 41], "maximum length"),
        (vec![1, 99], vec![0, 2], "tokenizer"),
        (vec![1, 2], vec![0, 1, 1, 2], "empty"),
        (vec![1, 2], vec![0, 1], "cover"),
    ] {
        let result = peft_run::models::PackedBatch::new(description, &ids, &[], &starts, &device);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
