//! Folders of models with random values.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft_format::{AdapterFile, HostTensor};
use serde_json::{Value, json};

use super::WORDS;
use crate::files;

const VOCABULARY: usize = 8192;
const HIDDEN: usize = 512;

/// A Llama of 32 million values.
pub fn llama(folder: &Path) -> Result<PathBuf> {
    let (layers, wide, kv) = (8, 1408, 256);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": wide, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": VOCABULARY,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
    });
    let mut tensors = Tensors::default();
    tensors.matrix("model.embed_tokens.weight", &[VOCABULARY, HIDDEN]);
    for layer in 0..layers {
        let part = |name: &str| format!("model.layers.{layer}.{name}.weight");
        for (name, shape) in [
            ("self_attn.q_proj", [HIDDEN, HIDDEN]),
            ("self_attn.k_proj", [kv, HIDDEN]),
            ("self_attn.v_proj", [kv, HIDDEN]),
            ("self_attn.o_proj", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", [wide, HIDDEN]),
            ("mlp.up_proj", [wide, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, wide]),
        ] {
            tensors.matrix(&part(name), &shape);
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.all(&part(name), &[HIDDEN], 1.0);
        }
    }
    tensors.all("model.norm.weight", &[HIDDEN], 1.0);
    tensors.matrix("lm_head.weight", &[VOCABULARY, HIDDEN]);
    write(folder, &config, tensors)
}

/// A Mamba of 31 million values.
pub fn mamba(folder: &Path) -> Result<PathBuf> {
    let (layers, channels, states, rank) = (16, 2 * HIDDEN, 16, HIDDEN / 16);
    let config = json!({
        "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": channels, "num_hidden_layers": layers,
        "state_size": states, "time_step_rank": rank, "conv_kernel": 4, "expand": 2,
        "use_bias": false, "use_conv_bias": true, "vocab_size": VOCABULARY,
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true,
    });
    let mut tensors = Tensors::default();
    tensors.matrix("backbone.embeddings.weight", &[VOCABULARY, HIDDEN]);
    for layer in 0..layers {
        let part = |name: &str| format!("backbone.layers.{layer}.{name}");
        for (name, shape) in [
            ("mixer.in_proj.weight", [2 * channels, HIDDEN]),
            ("mixer.x_proj.weight", [rank + 2 * states, channels]),
            ("mixer.dt_proj.weight", [channels, rank]),
            ("mixer.out_proj.weight", [HIDDEN, channels]),
        ] {
            tensors.matrix(&part(name), &shape);
        }
        tensors.matrix(&part("mixer.conv1d.weight"), &[channels, 1, 4]);
        tensors.all(&part("mixer.conv1d.bias"), &[channels], 0.0);
        tensors.all(&part("mixer.dt_proj.bias"), &[channels], -4.0);
        tensors.all(&part("mixer.A_log"), &[channels, states], 1.0);
        tensors.all(&part("mixer.D"), &[channels], 1.0);
        tensors.all(&part("norm.weight"), &[HIDDEN], 1.0);
    }
    tensors.all("backbone.norm_f.weight", &[HIDDEN], 1.0);
    write(folder, &config, tensors)
}

/// Tensors in the order of a file.
#[derive(Default)]
struct Tensors {
    all: Vec<(String, HostTensor)>,
    state: u64,
}

impl Tensors {
    fn all(&mut self, name: &str, shape: &[usize], value: f32) {
        let values = vec![value; shape.iter().product()];
        let tensor = HostTensor::from_f32(shape, &values);
        self.all.push((name.to_owned(), tensor));
    }

    /// Values evenly from ±0.03, as far apart as those of a checkpoint.
    fn matrix(&mut self, name: &str, shape: &[usize]) {
        let mut draw = || {
            // Knuth's linear congruential generator, whose upper bits are good enough for weights.
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005);
            self.state = self.state.wrapping_add(1_442_695_040_888_963_407);
            (self.state >> 40) as f32 / (1 << 24) as f32
        };
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| 0.06 * (draw() - 0.5))
            .collect();
        let tensor = HostTensor::from_f32(shape, &values);
        self.all.push((name.to_owned(), tensor));
    }
}

fn write(folder: &Path, config: &Value, tensors: Tensors) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = AdapterFile::new(tensors.all.into_iter().collect());
    file.write(&folder.join("model.safetensors"))?;
    let mut vocabulary = json!({ "<unk>": 0 });
    for (index, word) in WORDS.iter().enumerate() {
        vocabulary[*word] = json!(index + 1);
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    });
    for (name, text) in [("config.json", config), ("tokenizer.json", &tokenizer)] {
        files::write_atomic(&folder.join(name), text.to_string().as_bytes())?;
    }
    Ok(folder.to_owned())
}
