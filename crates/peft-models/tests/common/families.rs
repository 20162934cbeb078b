//! The families of decoders, and what the reference makes of a tiny model of each.

use serde_json::{Value, json};

/// The configuration of a tiny model, with what is its family's own.
pub fn config(own: Value) -> Value {
    let mut config = json!({
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
    });
    for (key, value) in own.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// A configuration, and what transformers 5.24 makes of it: the mean loss of seven targets, the first
/// four logits of the last row, and the sum of the magnitudes of all logits.
pub struct Row(pub &'static str, pub Value, pub f64, pub [f64; 4], pub f64);

/// A model of every family.
pub fn rows() -> Vec<Row> {
    vec![
        Row(
            "llama",
            json!({"model_type": "llama", "rms_norm_eps": 1e-5}),
            3.294647,
            [-0.45691, -0.71516, 0.82854, 0.28463],
            151.4517,
        ),
        Row(
            "llama with biases and llama3 positions",
            json!({"model_type": "llama", "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
                "attention_bias": true, "mlp_bias": true, "rope_theta": 100.0,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 16}}),
            3.406152,
            [-1.14342, 0.55916, 0.85286, -1.00233],
            118.8861,
        ),
        Row(
            "mistral",
            json!({"model_type": "mistral", "rms_norm_eps": 1e-5, "sliding_window": 3}),
            3.256959,
            [-0.69995, -0.81002, 1.12087, 0.22758],
            140.8177,
        ),
        Row(
            "qwen2",
            json!({"model_type": "qwen2", "tie_word_embeddings": true}),
            3.611758,
            [-1.00672, 0.33505, 0.83261, -0.76770],
            155.8097,
        ),
        Row(
            "qwen3",
            json!({"model_type": "qwen3", "head_dim": 8}),
            3.255803,
            [-0.40213, -0.57867, 0.70283, 0.21346],
            120.5247,
        ),
        Row(
            "gemma",
            json!({"model_type": "gemma", "head_dim": 8}),
            3.778124,
            [-1.05404, 0.08319, 1.01081, -0.60844],
            244.3870,
        ),
        Row(
            "gemma2",
            json!({"model_type": "gemma2", "head_dim": 8, "sliding_window": 3,
                "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0,
                "final_logit_softcapping": 3.0}),
            3.435388,
            [-0.83320, 0.03619, 0.81581, -0.46722],
            174.1661,
        ),
        Row(
            "gemma3",
            json!({"model_type": "gemma3_text", "head_dim": 8, "sliding_window": 3,
                "sliding_window_pattern": 2, "query_pre_attn_scalar": 8, "rope_theta": 1e6,
                "rope_local_base_freq": 1e4}),
            3.693800,
            [-1.96322, 0.15643, 1.88193, -1.13435],
            260.2929,
        ),
        Row(
            "phi3",
            json!({"model_type": "phi3", "rms_norm_eps": 1e-5}),
            3.304510,
            [-0.34838, -0.80286, 0.76557, 0.40504],
            118.9931,
        ),
        Row(
            "phi3 with long positions",
            json!({"model_type": "phi3", "rms_norm_eps": 1e-5, "num_attention_heads": 2,
                "num_key_value_heads": 1, "partial_rotary_factor": 0.5,
                "original_max_position_embeddings": 4,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5],
                    "long_factor": [2.0, 4.0]}}),
            3.182116,
            [-0.02420, -0.14427, 0.09916, 0.09274],
            87.1830,
        ),
        Row(
            "gpt2",
            json!({"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64,
                "n_inner": 64, "hidden_size": null, "num_key_value_heads": null,
                "intermediate_size": null, "num_hidden_layers": null, "num_attention_heads": null,
                "max_position_embeddings": null}),
            5.093796,
            [-2.52872, 2.98382, 0.97823, -3.49214],
            554.1960,
        ),
        Row(
            "gpt_neox",
            json!({"model_type": "gpt_neox", "num_key_value_heads": null, "rotary_pct": 0.5}),
            3.352888,
            [-0.28018, 0.02637, 0.26647, -0.16484],
            47.4713,
        ),
        Row(
            "granite",
            json!({"model_type": "granite", "tie_word_embeddings": true,
                "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
                "attention_multiplier": 0.125, "logits_scaling": 4.0}),
            3.453231,
            [-0.80966, 0.15121, 0.73108, -0.53111],
            133.4438,
        ),
        Row(
            "smollm3",
            json!({"model_type": "smollm3", "rope_theta": 2e6, "no_rope_layers": [1, 0]}),
            3.471517,
            [-0.88530, 0.12060, 0.82263, -0.54807],
            150.7271,
        ),
    ]
}
