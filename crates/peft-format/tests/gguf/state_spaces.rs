//! Mamba and Mamba-2 under Hugging Face's names.

use peft_format::BlockType;
use peft_format::gguf::{Architecture, GgufValue};
use serde_json::json;

use crate::build::{Metadata, Tensor};
use crate::models::{config, metadata, open, refused, set};

#[test]
fn mamba_gets_its_logarithm_back() {
    use BlockType::F32;
    let a_log: Vec<f32> = (0..16 * 4).map(|i| (1.0 + (i % 4) as f32).ln()).collect();
    let stored = a_log.iter().map(|v| -v.exp()).collect();
    let tensors = [
        Tensor::counted("token_embd.weight", F32, &[12, 8]),
        Tensor::counted("blk.0.attn_norm.weight", F32, &[8]),
        Tensor::counted("blk.0.ssm_in.weight", F32, &[32, 8]),
        Tensor::counted("blk.0.ssm_conv1d.weight", F32, &[16, 4]),
        Tensor::counted("blk.0.ssm_conv1d.bias", F32, &[16]),
        Tensor::counted("blk.0.ssm_dt.bias", F32, &[16]),
        Tensor::new("blk.0.ssm_a", F32, &[16, 4], stored),
        Tensor::counted("blk.0.ssm_d", F32, &[16]),
    ];
    let more = vec![
        ("mamba.attention.head_count", GgufValue::U32(0)),
        ("mamba.ssm.conv_kernel", GgufValue::U32(4)),
        ("mamba.ssm.inner_size", GgufValue::U32(16)),
        ("mamba.ssm.state_size", GgufValue::U32(4)),
        ("mamba.ssm.time_step_rank", GgufValue::U32(1)),
    ];
    let model = open(&metadata("mamba", more.clone()), &tensors).unwrap();
    config(
        &model,
        json!({
            "model_type": "mamba", "hidden_size": 8, "intermediate_size": 16, "expand": 2,
            "conv_kernel": 4, "state_size": 4, "time_step_rank": 1, "use_conv_bias": true,
            "use_bias": false, "layer_norm_epsilon": 1e-5,
        }),
    );
    let found = model.to_f32("backbone.layers.0.mixer.A_log").unwrap();
    for (found, expected) in found.iter().zip(&a_log) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    let conv = "backbone.layers.0.mixer.conv1d.weight";
    assert_eq!(model.stored(conv).unwrap().shape, [16, 1, 4]);
    assert!(
        model
            .names()
            .any(|name| name == "backbone.layers.0.mixer.D")
    );
    assert!(
        model
            .names()
            .any(|name| name == "backbone.layers.0.mixer.dt_proj.bias")
    );
    let mut falcon = metadata("mamba", more);
    falcon.push(("mamba.ssm.dt_b_c_rms", GgufValue::Bool(true)));
    let falcon = open(&falcon, &tensors).unwrap();
    config(
        &falcon,
        json!({"model_type": "falcon_mamba", "architectures": ["FalconMambaForCausalLM"], "state_size": 4}),
    );
}

/// Two blocks of Mamba-2: 4 heads of 4 channels in 2 groups, 3 states.
fn mamba2() -> (Metadata, Vec<Tensor>) {
    use BlockType::F32;
    let more = vec![
        ("mamba2.attention.head_count", GgufValue::U32(0)),
        ("mamba2.block_count", GgufValue::U32(2)),
        ("mamba2.ssm.conv_kernel", GgufValue::U32(4)),
        ("mamba2.ssm.inner_size", GgufValue::U32(16)),
        ("mamba2.ssm.state_size", GgufValue::U32(3)),
        ("mamba2.ssm.time_step_rank", GgufValue::U32(4)),
        ("mamba2.ssm.group_count", GgufValue::U32(2)),
    ];
    let mut tensors = vec![
        Tensor::counted("token_embd.weight", F32, &[12, 8]),
        Tensor::counted("output_norm.weight", F32, &[8]),
    ];
    for block in 0..2 {
        let of = |part: &str, shape: &[usize]| {
            Tensor::counted(&format!("blk.{block}.{part}"), F32, shape)
        };
        let rates = (0..4).map(|head| -(1.0 + head as f32)).collect();
        tensors.extend([
            of("attn_norm.weight", &[8]),
            of("ssm_in.weight", &[48, 8]),
            of("ssm_conv1d.weight", &[28, 4]),
            of("ssm_conv1d.bias", &[28]),
            of("ssm_dt.bias", &[4]),
            Tensor::new(&format!("blk.{block}.ssm_a"), F32, &[4, 1], rates),
            of("ssm_d", &[4, 1]),
            of("ssm_norm.weight", &[2, 8]),
            of("ssm_out.weight", &[8, 16]),
        ]);
    }
    (metadata("mamba2", more), tensors)
}

#[test]
fn mamba2_gets_its_lists_back() {
    let (metadata, mut tensors) = mamba2();
    let model = open(&metadata, &tensors).unwrap();
    assert_eq!(model.architecture(), Architecture::Mamba2);
    config(
        &model,
        json!({
            "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"], "hidden_size": 8,
            "expand": 2, "conv_kernel": 4, "state_size": 3, "num_heads": 4, "head_dim": 4,
            "n_groups": 2, "num_hidden_layers": 2, "use_conv_bias": true, "use_bias": false,
            "tie_word_embeddings": true, "layer_norm_epsilon": 1e-5, "time_step_limit": null,
        }),
    );
    for block in 0..2 {
        let name = |part: &str| format!("backbone.layers.{block}.mixer.{part}");
        for (head, found) in model.to_f32(&name("A_log")).unwrap().iter().enumerate() {
            let expected = (1.0 + head as f32).ln();
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (part, shape) in [
            ("A_log", vec![4]),
            ("D", vec![4]),
            ("dt_bias", vec![4]),
            ("norm.weight", vec![16]),
            ("conv1d.weight", vec![28, 1, 4]),
            ("conv1d.bias", vec![28]),
        ] {
            assert_eq!(model.stored(&name(part)).unwrap().shape, shape, "{part}");
        }
    }
    // A file that ggml wrote again has no outer dimensions of 1.
    let mut one = metadata.clone();
    set(&mut one, "mamba2.ssm.group_count", GgufValue::U32(1));
    for tensor in &mut tensors {
        if tensor.name.ends_with("ssm_norm.weight") {
            tensor.shape = vec![16];
        }
    }
    let model = open(&one, &tensors).unwrap();
    config(&model, json!({"n_groups": 1}));
    let norm = model.stored("backbone.layers.1.mixer.norm.weight").unwrap();
    assert_eq!(norm.shape, [16]);
    refused(&metadata, &tensors, &["ssm_norm.weight", "[2, 8]", "[16]"]);
}

#[test]
fn mamba2_that_contradicts_itself_is_refused() {
    let (metadata, tensors) = mamba2();
    for (key, value, words) in [
        (
            "mamba2.ssm.time_step_rank",
            3,
            ["time_step_rank", "a divisor of the 16 channels"],
        ),
        (
            "mamba2.ssm.group_count",
            3,
            ["group_count", "a divisor of the 4 heads"],
        ),
        ("mamba2.ssm.group_count", 0, ["group_count", "at least 1"]),
        ("mamba2.ssm.group_count", 4, ["ssm_norm", "[4, 4]"]),
        ("mamba2.ssm.time_step_rank", 8, ["ssm_a", "[8, 1]"]),
        (
            "mamba2.ssm.inner_size",
            12,
            ["inner_size", "a multiple of the width 8"],
        ),
        ("mamba2.block_count", 1, ["blk.1.", "a block below"]),
    ] {
        let mut wrong = metadata.clone();
        set(&mut wrong, key, GgufValue::U32(value));
        refused(&wrong, &tensors, &words);
    }
    for key in [
        "mamba2.ssm.conv_kernel",
        "mamba2.ssm.inner_size",
        "mamba2.ssm.state_size",
        "mamba2.ssm.time_step_rank",
        "mamba2.ssm.group_count",
        "mamba2.attention.layer_norm_rms_epsilon",
    ] {
        let mut missing = metadata.clone();
        missing.retain(|entry| entry.0 != key);
        refused(&missing, &tensors, &[key, "nothing"]);
    }
    // What Mamba has and Mamba-2 has not.
    for name in ["blk.0.ssm_x.weight", "blk.0.ssm_dt.weight"] {
        let mut more = tensors.clone();
        more.push(Tensor::counted(name, BlockType::F32, &[4, 4]));
        refused(&metadata, &more, &[name, "`mamba2`"]);
    }
}
