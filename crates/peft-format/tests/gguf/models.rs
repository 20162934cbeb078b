//! Models under Hugging Face's names, with its values and configuration.

use peft_format::gguf::{Architecture, GgufModel, GgufValue};
use peft_format::{BlockType, Checkpoint, Dtype};
use serde_json::{Value as Json, json};

use crate::build::{Metadata, Tensor, llama_metadata, llama_tensors, write};

pub fn open(metadata: &Metadata, tensors: &[Tensor]) -> Result<GgufModel, String> {
    let dir = tempfile::tempdir().unwrap();
    GgufModel::open(&write(dir.path(), metadata, tensors)).map_err(|e| e.to_string())
}

pub fn refused(metadata: &Metadata, tensors: &[Tensor], words: &[&str]) {
    let message = open(metadata, tensors).unwrap_err();
    for word in [&["test.gguf"], words].concat() {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

pub fn set(metadata: &mut Metadata, key: &'static str, value: GgufValue) {
    match metadata.iter_mut().find(|entry| entry.0 == key) {
        Some(entry) => entry.1 = value,
        None => metadata.push((key, value)),
    }
}

/// Metadata of another architecture: the Llama's under its name, and more.
pub fn metadata(architecture: &'static str, more: Metadata) -> Metadata {
    let mut all: Metadata = vec![("general.architecture", architecture.into())];
    for (key, value) in llama_metadata().into_iter().skip(1) {
        let key = match key.strip_prefix("llama.") {
            Some(rest) => Box::leak(format!("{architecture}.{rest}").into_boxed_str()),
            None => key,
        };
        all.push((key, value));
    }
    for (key, value) in more {
        set(&mut all, key, value);
    }
    all
}

pub fn config(model: &GgufModel, expected: Json) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(
            model.config().get(key).unwrap_or(&Json::Null),
            value,
            "{key}"
        );
    }
}

#[test]
fn a_llama_is_that_of_hugging_face() {
    let model = open(&llama_metadata(), &llama_tensors()).unwrap();
    assert_eq!(model.architecture(), Architecture::Llama);
    config(
        &model,
        json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 12,
            "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e5,
            "tie_word_embeddings": true, "hidden_act": "silu", "attention_bias": false,
            "rope_scaling": null,
        }),
    );
    let names: Vec<&str> = model.names().collect();
    assert_eq!(names.len(), 11);
    assert!(names.contains(&"model.layers.0.post_attention_layernorm.weight"));
    // Row b D/2 + i of a head is the file's row 2i + b.
    let stored = Tensor::counted("", BlockType::F32, &[8, 8]).values;
    let q = model
        .to_f32("model.layers.0.self_attn.q_proj.weight")
        .unwrap();
    for (row, from) in [0, 2, 1, 3, 4, 6, 5, 7].into_iter().enumerate() {
        assert_eq!(q[8 * row..][..8], stored[8 * from..][..8], "{row}");
    }
    let v = model
        .to_f32("model.layers.0.self_attn.v_proj.weight")
        .unwrap();
    assert_eq!(v, stored[..32]);
    let missing = model.to_f32("model.layers.0.self_attn.q_prj.weight");
    assert!(missing.unwrap_err().to_string().contains("q_proj"));
}

/// The permutation of the reference, by its own formula: `reshape(h, 2, D/2, in).swap(1, 2)`.
#[test]
fn rows_of_blocks_move_as_they_are() {
    let (heads, dim, columns) = (3, 8, 32);
    let original = Tensor::counted("", BlockType::F32, &[heads * dim, columns]).values;
    let mut permuted = Vec::new();
    for head in 0..heads {
        for i in 0..dim / 2 {
            for half in 0..2 {
                let row = head * dim + half * dim / 2 + i;
                permuted.extend(&original[columns * row..][..columns]);
            }
        }
    }
    let mut metadata = llama_metadata();
    for (key, value) in [
        ("llama.embedding_length", 32),
        ("llama.attention.head_count", 3),
        ("llama.attention.key_length", 8),
        ("llama.attention.value_length", 8),
        ("llama.rope.dimension_count", 8),
    ] {
        set(&mut metadata, key, GgufValue::U32(value));
    }
    for kind in [
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::F16,
    ] {
        let tensors = [
            Tensor::counted("token_embd.weight", BlockType::F32, &[12, 32]),
            Tensor::new(
                "blk.0.attn_q.weight",
                kind,
                &[heads * dim, columns],
                permuted.clone(),
            ),
            Tensor::counted("blk.0.attn_v.weight", kind, &[8, columns]),
        ];
        let model = open(&metadata, &tensors).unwrap();
        let stored = model
            .stored("model.layers.0.self_attn.q_proj.weight")
            .unwrap();
        assert_eq!(*stored.bytes, *kind.encode(&original).unwrap(), "{kind}");
        assert!(!stored.bytes.is_mapped() && stored.kind == kind);
        let v = model
            .stored("model.layers.0.self_attn.v_proj.weight")
            .unwrap();
        assert!(v.bytes.is_mapped());
        drop(model);
        // The mapping lives on.
        assert_eq!(*v.bytes, *kind.encode(&tensors[2].values).unwrap());
    }
}

#[test]
fn a_checkpoint_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = llama_tensors();
    tensors[5].kind = BlockType::F16;
    let path = write(dir.path(), &llama_metadata(), &tensors);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.len(), 11);
    let config = checkpoint.config().unwrap().unwrap();
    assert_eq!(config["model_type"], "llama");
    assert!(checkpoint.gguf().is_some());
    let v = "model.layers.0.self_attn.v_proj.weight";
    assert_eq!(checkpoint.info(v).unwrap().dtype, Dtype::F16);
    assert_eq!(checkpoint.bytes(v).unwrap().len(), 64);
    assert!(checkpoint.shared(v).unwrap().is_mapped());
    let q = "model.layers.0.self_attn.q_proj.weight";
    let bytes = checkpoint.bytes(q).unwrap();
    assert_eq!(checkpoint.view(q).unwrap().bytes, &*bytes);
    assert_eq!(checkpoint.to_f32(q).unwrap().len(), 64);
    // Without the ending, the first bytes tell.
    let plain = dir.path().join("model");
    std::fs::rename(&path, &plain).unwrap();
    assert_eq!(Checkpoint::open(&plain).unwrap().len(), 11);
}

#[test]
fn windows_biases_and_heads_of_their_own_size() {
    let window = ("llama.attention.sliding_window", GgufValue::U32(16));
    let mut mistral = llama_metadata();
    mistral.push(window);
    let model = open(&mistral, &llama_tensors()).unwrap();
    config(
        &model,
        json!({"model_type": "mistral", "sliding_window": 16}),
    );

    let mut tensors = llama_tensors();
    tensors.push(Tensor::counted("blk.0.attn_q.bias", BlockType::F32, &[8]));
    refused(&llama_metadata(), &tensors, &["biases", "1 of 4"]);
    for (name, len) in [("attn_k", 4), ("attn_v", 4), ("attn_output", 8)] {
        let name = format!("blk.0.{name}.bias");
        tensors.push(Tensor::counted(&name, BlockType::F32, &[len]));
    }
    let model = open(&llama_metadata(), &tensors).unwrap();
    config(&model, json!({"attention_bias": true, "mlp_bias": false}));
    let stored = Tensor::counted("", BlockType::F32, &[8]).values;
    let bias = model
        .to_f32("model.layers.0.self_attn.q_proj.bias")
        .unwrap();
    let order = [0, 2, 1, 3, 4, 6, 5, 7].map(|i| stored[i]);
    assert_eq!(bias, order);
    tensors.push(Tensor::counted("output.weight", BlockType::F32, &[12, 8]));
    let model = open(&llama_metadata(), &tensors).unwrap();
    config(&model, json!({"tie_word_embeddings": false}));
    assert!(model.names().any(|name| name == "lm_head.weight"));
}

#[test]
fn contradictions_are_refused() {
    let tensors = llama_tensors();
    let with = |key: &'static str, value: GgufValue, words: &[&str]| {
        let mut metadata = llama_metadata();
        set(&mut metadata, key, value);
        refused(&metadata, &llama_tensors(), words);
    };
    with(
        "general.architecture",
        "falcon".into(),
        &["falcon", "llama, qwen2"],
    );
    with("general.type", "adapter".into(), &["adapter"]);
    with("llama.block_count", GgufValue::U32(0), &["at least 1"]);
    with("llama.block_count", "two".into(), &["`two`", "integer"]);
    with("llama.expert_count", GgufValue::U32(8), &["expert_count"]);
    with(
        "llama.embedding_length",
        GgufValue::U32(16),
        &["token_embd"],
    );
    let heads = "llama.attention.head_count";
    with(heads, GgufValue::U32s(vec![2, 2]), &["an array of 2 u32"]);
    with(
        "llama.attention.head_count_kv",
        GgufValue::U32(3),
        &["divisor"],
    );
    with("llama.rope.dimension_count", GgufValue::U32(2), &["all 4"]);
    with(
        "llama.attention.value_length",
        GgufValue::U32(8),
        &["value_length"],
    );
    with("llama.rope.scaling.type", "longrope".into(), &["longrope"]);
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    with(epsilon, GgufValue::F32(f32::NAN), &["finite"]);
    let tokens = vec!["a".to_owned(); 13];
    let key = "tokenizer.ggml.tokens";
    with(key, GgufValue::Strings(tokens), &["at least 13 rows"]);
    let mut metadata = llama_metadata();
    metadata.retain(|entry| entry.0 != "llama.feed_forward_length");
    refused(&metadata, &tensors, &["feed_forward_length", "nothing"]);

    let with = |name: &str, shape: &[usize], words: &[&str]| {
        let mut tensors = llama_tensors();
        tensors.retain(|tensor| tensor.name != name);
        tensors.push(Tensor::counted(name, BlockType::F32, shape));
        refused(&llama_metadata(), &tensors, words);
    };
    with("blk.0.attn_q.weight", &[6, 8], &["attn_q", "2 heads"]);
    with("blk.1.attn_v.weight", &[4, 8], &["blk.1", "block 1"]);
    with("blk.00.attn_v.weight", &[4, 8], &["blk.00"]);
    with("blk.0.ffn_gate_exps.weight", &[2, 2], &["ffn_gate_exps"]);
    with("rope_freqs.weight", &[3], &["rope_freqs", "2 finite"]);
}

#[test]
fn rotary_scaling() {
    let scaled = |more: Metadata| {
        let model = open(&metadata("llama", more), &llama_tensors()).unwrap();
        model.config()["rope_scaling"].clone()
    };
    let linear = vec![
        ("llama.rope.scaling.type", "linear".into()),
        ("llama.rope.scaling.factor", GgufValue::F32(4.0)),
    ];
    assert_eq!(
        scaled(linear),
        json!({"rope_type": "linear", "factor": 4.0})
    );
    let yarn = vec![
        ("llama.rope.scaling.type", "yarn".into()),
        ("llama.rope.scaling.factor", GgufValue::F32(4.0)),
        (
            "llama.rope.scaling.original_context_length",
            GgufValue::U32(16),
        ),
    ];
    let expected = json!({
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
    });
    assert_eq!(scaled(yarn), expected);

    let mut tensors = llama_tensors();
    let divisors = vec![1.0, 8.0];
    tensors.push(Tensor::new(
        "rope_freqs.weight",
        BlockType::F32,
        &[2],
        divisors,
    ));
    let model = open(&llama_metadata(), &tensors).unwrap();
    let scaling = &model.config()["rope_scaling"];
    assert_eq!(scaling["short_factor"], json!([1.0, 8.0]));
    assert_eq!(scaling["long_factor"], json!([1.0, 8.0]));
    assert_eq!(scaling["attention_factor"], json!(1.0));
    assert!(!model.names().any(|name| name.contains("rope")));
}

#[test]
fn gemmas_lose_what_their_norms_gained() {
    use BlockType::F32;
    let mut tensors = llama_tensors();
    for name in ["post_attention_norm", "post_ffw_norm"] {
        tensors.push(Tensor::counted(&format!("blk.0.{name}.weight"), F32, &[8]));
    }
    for name in ["attn_q_norm", "attn_k_norm"] {
        tensors.push(Tensor::counted(&format!("blk.0.{name}.weight"), F32, &[4]));
    }
    let window = ("gemma3.attention.sliding_window", GgufValue::U32(16));
    let model = open(&metadata("gemma3", vec![window]), &tensors).unwrap();
    config(
        &model,
        json!({
            "model_type": "gemma3_text", "query_pre_attn_scalar": 4, "sliding_window": 16,
            "sliding_window_pattern": 6, "rope_local_base_freq": 1e4, "rope_theta": 1e5,
            "hidden_activation": "gelu_pytorch_tanh", "final_logit_softcapping": null,
        }),
    );
    let stored = Tensor::counted("", F32, &[8]).values;
    for (name, from) in [
        ("model.norm", &stored[..]),
        ("model.layers.0.pre_feedforward_layernorm", &stored),
        ("model.layers.0.post_feedforward_layernorm", &stored),
        ("model.layers.0.post_attention_layernorm", &stored),
        ("model.layers.0.self_attn.q_norm", &stored[..4]),
    ] {
        let expected: Vec<f32> = from.iter().map(|v| v - 1.0).collect();
        let name = format!("{name}.weight");
        assert_eq!(model.to_f32(&name).unwrap(), expected, "{name}");
    }
    // Only the Llama architecture has its rows in another order.
    let q = model
        .stored("model.layers.0.self_attn.q_proj.weight")
        .unwrap();
    assert!(q.bytes.is_mapped());

    tensors.retain(|t| !t.name.contains("q_norm") && !t.name.contains("k_norm"));
    let model = open(&metadata("gemma2", vec![]), &tensors).unwrap();
    config(
        &model,
        json!({"model_type": "gemma2", "attn_logit_softcapping": 50.0, "sliding_window": 4096}),
    );
}

#[test]
fn qwens() {
    let mut tensors = llama_tensors();
    let model = open(&metadata("qwen2", vec![]), &tensors).unwrap();
    config(
        &model,
        json!({"model_type": "qwen2", "use_sliding_window": false}),
    );
    let name = "blk.0.attn_q_norm.weight";
    tensors.push(Tensor::counted(name, BlockType::F32, &[4]));
    refused(&metadata("qwen2", vec![]), &tensors, &["attn_q_norm"]);
    let model = open(&metadata("qwen3", vec![]), &tensors).unwrap();
    config(
        &model,
        json!({"model_type": "qwen3", "attention_bias": false}),
    );
    let norm = "model.layers.0.self_attn.q_norm.weight";
    assert_eq!(model.to_f32(norm).unwrap().len(), 4);
}

#[test]
fn phi3_has_fused_matrices_and_factors() {
    use BlockType::F32;
    let tensors = [
        Tensor::counted("token_embd.weight", F32, &[12, 8]),
        Tensor::counted("blk.0.attn_qkv.weight", F32, &[16, 8]),
        Tensor::counted("blk.0.ffn_up.weight", F32, &[24, 8]),
        Tensor::new("rope_factors_long.weight", F32, &[1], vec![2.0]),
        Tensor::new("rope_factors_short.weight", F32, &[1], vec![1.5]),
    ];
    let more = vec![
        ("phi3.rope.dimension_count", GgufValue::U32(2)),
        (
            "phi3.rope.scaling.original_context_length",
            GgufValue::U32(16),
        ),
        ("phi3.rope.scaling.attn_factor", GgufValue::F32(1.25)),
        ("phi3.attention.sliding_window", GgufValue::U32(0)),
    ];
    let model = open(&metadata("phi3", more), &tensors).unwrap();
    config(
        &model,
        json!({
            "model_type": "phi3", "partial_rotary_factor": 0.5, "sliding_window": null,
            "original_max_position_embeddings": 16,
            "rope_scaling": {
                "rope_type": "longrope", "long_factor": [2.0], "short_factor": [1.5],
                "attention_factor": 1.25,
            },
        }),
    );
    let names: Vec<&str> = model.names().collect();
    assert_eq!(
        names,
        [
            "model.embed_tokens.weight",
            "model.layers.0.mlp.gate_up_proj.weight",
            "model.layers.0.self_attn.qkv_proj.weight",
        ]
    );
    refused(&metadata("phi3", vec![]), &tensors[..4], &["rope_factors"]);
}

#[test]
fn gpt2_matrices_are_transposed_back() {
    use BlockType::F32;
    let tensors = [
        Tensor::counted("token_embd.weight", F32, &[12, 8]),
        Tensor::counted("position_embd.weight", F32, &[64, 8]),
        Tensor::counted("blk.0.attn_qkv.weight", F32, &[24, 8]),
        Tensor::counted("blk.0.attn_qkv.bias", F32, &[24]),
        Tensor::counted("output_norm.bias", F32, &[8]),
    ];
    let more = vec![("gpt2.attention.layer_norm_epsilon", GgufValue::F32(1e-5))];
    let model = open(&metadata("gpt2", more), &tensors).unwrap();
    config(
        &model,
        json!({
            "model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_inner": 12,
            "n_positions": 64, "layer_norm_epsilon": 1e-5,
        }),
    );
    let name = "transformer.h.0.attn.c_attn.weight";
    let stored = model.stored(name).unwrap();
    assert!(stored.transposed && stored.bytes.is_mapped());
    assert_eq!(stored.shape, [24, 8]);
    let values = model.to_f32(name).unwrap();
    for (i, value) in values.iter().enumerate() {
        assert_eq!(*value, tensors[2].values[(i % 24) * 8 + i / 24]);
    }
    assert!(model.names().any(|name| name == "transformer.ln_f.bias"));
    assert!(!model.stored("transformer.wpe.weight").unwrap().transposed);
}

#[test]
fn names_go_both_ways() {
    for architecture in Architecture::ALL {
        for module in ["token_embd", "output_norm", "blk.3.attn_norm"] {
            let hf = architecture.hf_module(module).unwrap();
            assert_eq!(architecture.gguf_module(&hf).as_deref(), Some(module));
        }
        assert_eq!(
            Architecture::from_name(architecture.name()),
            Some(architecture)
        );
        assert!(architecture.hf_module("blk.03.attn_norm").is_none());
    }
    assert_eq!(
        Architecture::from_model_type("mistral"),
        Some(Architecture::Llama)
    );
    assert_eq!(Architecture::from_model_type("bert"), None);
}
