//! What descriptions say: names both ways, targets by role, and what is refused.

mod common;

use burn::tensor::FloatDType;
use peft_core::format::TargetModules;
use peft_models::{Description, HeadKind, ModelFolder, Role};
use serde_json::{Value, json};

use common::folder;

fn encoder(model_type: &str) -> Value {
    match model_type {
        "distilbert" => json!({"model_type": model_type, "vocab_size": 99, "dim": 8, "n_layers": 2,
            "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 40}),
        "deberta-v2" => json!({"model_type": model_type, "vocab_size": 99, "hidden_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "max_position_embeddings": 40, "relative_attention": true, "share_att_key": true,
            "pos_att_type": "p2c|c2p", "norm_rel_ebd": "layer_norm", "position_buckets": 8,
            "position_biased_input": false}),
        _ => json!({"model_type": model_type, "vocab_size": 99, "hidden_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "max_position_embeddings": 40}),
    }
}

fn decoder(model_type: &str) -> Value {
    json!({"model_type": model_type, "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4,
        "max_position_embeddings": 64, "rotary_pct": 0.5})
}

fn describe(config: &Value, head: HeadKind) -> Description {
    let (_temp, folder) = folder(config, head, FloatDType::F32);
    folder.describe(head).unwrap()
}

const SCORES: HeadKind = HeadKind::Sequence { outputs: 3 };

fn list(names: &[&str]) -> TargetModules {
    TargetModules::List(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn targets_follow_roles() {
    let regex = |text: &str| TargetModules::Regex(text.to_owned());
    for (model_type, attention, feed_forward) in [
        (
            "bert",
            list(&["query", "value"]),
            regex(r".*\.layer\.\d+\.(intermediate|output)\.dense"),
        ),
        (
            "camembert",
            list(&["query", "value"]),
            regex(r".*\.layer\.\d+\.(intermediate|output)\.dense"),
        ),
        (
            "distilbert",
            list(&["q_lin", "v_lin"]),
            list(&["lin1", "lin2"]),
        ),
        (
            "albert",
            list(&["query", "value"]),
            list(&["ffn", "ffn_output"]),
        ),
        (
            "mpnet",
            list(&["q", "v"]),
            list(&["intermediate.dense", "output.dense"]),
        ),
        (
            "deberta-v2",
            list(&["query_proj", "value_proj"]),
            regex(r".*\.layer\.\d+\.(intermediate|output)\.dense"),
        ),
        ("modernbert", list(&["Wqkv"]), list(&["Wi", "mlp.Wo"])),
    ] {
        let description = describe(&encoder(model_type), SCORES);
        assert_eq!(description.default_targets(), attention, "{model_type}");
        let found = description.targets(Role::FEED_FORWARD);
        assert_eq!(found, feed_forward, "{model_type}");
    }
    for (model_type, attention, feed_forward) in [
        (
            "llama",
            list(&["q_proj", "v_proj"]),
            list(&["gate_proj", "up_proj", "down_proj"]),
        ),
        (
            "granite",
            list(&["q_proj", "v_proj"]),
            list(&["gate_proj", "up_proj", "down_proj"]),
        ),
        (
            "phi3",
            list(&["qkv_proj"]),
            list(&["gate_up_proj", "down_proj"]),
        ),
        ("gpt2", list(&["c_attn"]), list(&["c_fc", "mlp.c_proj"])),
        (
            "gpt_neox",
            list(&["query_key_value"]),
            list(&["dense_h_to_4h", "dense_4h_to_h"]),
        ),
    ] {
        let description = describe(&decoder(model_type), HeadKind::Language);
        assert_eq!(description.default_targets(), attention, "{model_type}");
        let found = description.targets(Role::FEED_FORWARD);
        assert_eq!(found, feed_forward, "{model_type}");
    }
    let mamba = json!({"model_type": "mamba", "vocab_size": 32, "hidden_size": 8,
        "num_hidden_layers": 2});
    let found = describe(&mamba, HeadKind::Language).default_targets();
    assert_eq!(found, list(&["in_proj", "x_proj", "dt_proj", "out_proj"]));
    let description = describe(&jamba(), HeadKind::Language);
    let both = list(&[
        "in_proj", "x_proj", "dt_proj", "out_proj", "q_proj", "v_proj",
    ]);
    assert_eq!(description.default_targets(), both);
    let feed_forward = description.targets(Role::FEED_FORWARD);
    assert_eq!(feed_forward, list(&["gate_proj", "up_proj", "down_proj"]));
}

/// Attention in the second block of two.
fn jamba() -> Value {
    json!({"model_type": "jamba", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1,
        "max_position_embeddings": 64})
}

#[test]
fn names_go_both_ways() {
    let mut cases: Vec<Description> = [
        "bert",
        "roberta",
        "distilbert",
        "albert",
        "mpnet",
        "deberta-v2",
        "modernbert",
    ]
    .map(|kind| describe(&encoder(kind), SCORES))
    .into();
    for kind in ["llama", "gemma2", "phi3", "gpt2", "gpt_neox"] {
        cases.push(describe(&decoder(kind), HeadKind::Language));
        cases.push(describe(&decoder(kind), SCORES));
    }
    let last = cases.len();
    for head in [HeadKind::Language, SCORES] {
        cases.push(describe(&jamba(), head));
    }
    for (case, description) in cases.into_iter().enumerate() {
        let names = description.names();
        for (_, part) in description.parts() {
            for (leaf, _) in part.parameters() {
                let (path, name) = (
                    format!("{}{leaf}", part.path),
                    format!("{}{leaf}", part.name),
                );
                assert_eq!(names.to_hf(&path), name);
                assert_eq!(names.to_burn(&name), path);
            }
        }
        // What a slot holds is named within its block.
        let block = &description.blocks[0];
        let field = match case < last {
            true => "after_attention",
            false => "mamba.after_state",
        };
        let slot = format!("{}.{field}.down", block.path.replace("{}", "0"));
        let name = format!("{}.{field}.down", block.full_name());
        assert_eq!(names.to_hf(&slot), name);
        assert_eq!(names.to_burn(&name), slot);
    }
}

#[test]
fn blocks_and_classes_have_their_names() {
    let albert = describe(&encoder("albert"), SCORES);
    assert_eq!((albert.blocks.len(), albert.depth), (1, 2));
    let name = "albert.encoder.albert_layer_groups.0.albert_layers.0 (pass 2)";
    assert_eq!(albert.block_name(1), name);
    let bert = describe(&encoder("bert"), SCORES);
    assert_eq!(bert.block_name(1), "bert.encoder.layer.1");
    assert_eq!(
        bert.class_name("ForSequenceClassification"),
        "BertForSequenceClassification"
    );
    let gpt2 = describe(&decoder("gpt2"), HeadKind::Language);
    assert_eq!(gpt2.class_name("ForCausalLM"), "GPT2LMHeadModel");
    let gemma = describe(&decoder("gemma3_text"), HeadKind::Language);
    assert_eq!(gemma.class_name("ForCausalLM"), "Gemma3ForCausalLM");
}

#[test]
fn what_is_not_supported_is_named() {
    let open = |config: Value| {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("config.json"), config.to_string()).unwrap();
        ModelFolder::open(temp.path()).unwrap_err().to_string()
    };
    for (key, value, word) in [
        ("model_type", json!("mixtral"), "mixtral"),
        ("model_type", json!("qwen3_moe"), "qwen3_moe"),
        ("model_type", json!("gemma3"), "gemma3"),
        (
            "quantization_config",
            json!({"quant_method": "gptq"}),
            "quantis",
        ),
        ("hidden_act", json!("relu2"), "relu2"),
        ("rope_scaling", json!({"rope_type": "spiral"}), "spiral"),
        ("num_key_value_heads", json!(3), "divide"),
        ("hidden_size", json!(-4), "hidden_size"),
        ("num_hidden_layers", json!(100_000_000), "layers"),
        ("intermediate_size", json!(1_u64 << 40), "intermediate_size"),
        ("head_dim", json!(6), "pairs"),
        ("rms_norm_eps", json!(0.0), "rms_norm_eps"),
    ] {
        let mut config = decoder("llama");
        config[key] = value;
        let error = open(config);
        assert!(error.contains(word), "{error}");
    }
    for (model_type, key, value) in [
        ("deberta-v2", "conv_kernel_size", json!(3)),
        ("deberta-v2", "share_att_key", json!(false)),
        ("deberta-v2", "relative_attention", json!(false)),
        ("deberta-v2", "pos_att_type", json!(["p2p"])),
        ("deberta-v2", "norm_rel_ebd", json!("batch_norm")),
        ("deberta-v2", "position_buckets", json!(2)),
        ("deberta-v2", "max_relative_positions", json!(1e300)),
        ("deberta-v2", "embedding_size", json!(4)),
        ("mpnet", "relative_attention_num_buckets", json!(16)),
        ("modernbert", "layer_types", json!(["chunked_attention"])),
        ("modernbert", "global_attn_every_n_layers", json!(0)),
        ("modernbert", "rope_scaling", json!({"rope_type": "linear"})),
        ("modernbert", "attention_dropout", json!(0.1)),
        ("modernbert", "mlp_dropout", json!(0.1)),
        ("modernbert", "classifier_pooling", json!("max")),
        ("modernbert", "head_dim", json!(2)),
    ] {
        let mut config = encoder(model_type);
        config[key] = value;
        let error = open(config);
        let known = key == "head_dim" && error.contains("heads of 2 channels");
        assert!(error.contains(key) || known, "{error}");
    }
    for (key, value, words) in [
        (
            "num_experts",
            json!(16),
            ["`num_experts` is 16", "layer 1,"],
        ),
        (
            "num_experts",
            Value::Null,
            ["`num_experts` is 16", "layer 1,"],
        ),
        (
            "attn_layer_period",
            json!(1),
            ["`attn_layer_offset` is 1", "`attn_layer_period` = 1"],
        ),
        ("attn_layer_period", json!(0), ["attn_layer_period", "= 0"]),
        ("hidden_act", json!("gelu"), ["gelu", "silu"]),
        ("mamba_d_state", json!(0), ["`mamba_d_state`", "is 0"]),
        ("mamba_dt_rank", json!("most"), ["mamba_dt_rank", "most"]),
        ("num_key_value_heads", json!(3), ["3 key heads", "divide"]),
    ] {
        let mut config = jamba();
        config[key] = value;
        let error = open(config);
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    }
    // Experts on layers that there are not.
    let mut none = jamba();
    none["num_experts"] = json!(16);
    none["expert_layer_period"] = json!(8);
    none["expert_layer_offset"] = json!(2);
    assert_eq!(describe(&none, HeadKind::Language).blocks.len(), 2);
    let (_temp, bert) = folder(&encoder("bert"), SCORES, FloatDType::F32);
    let error = bert.describe(HeadKind::Language).unwrap_err().to_string();
    assert!(error.contains("next token"), "{error}");
}
