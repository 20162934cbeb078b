//! `config.json` out of the metadata.

use serde_json::{Map, Value as Json, json};

use super::architecture::layer_and_rest;
use super::families::{gemma, gpt2, mamba, mamba2};
use super::{Architecture, GgufFile, HeadCounts, rope};
use crate::error::{FormatError, Result, shorten};

/// The metadata below the architecture's name, and the configuration made of them.
pub(super) struct Builder<'a> {
    pub file: &'a GgufFile,
    pub architecture: Architecture,
    pub config: Map<String, Json>,
}

/// A float of the file as the shortest decimal that rounds to it: 1e-5 and not 9.99999974e-6.
pub(super) fn decimal(value: f32) -> Json {
    value
        .to_string()
        .parse::<f64>()
        .map_or(Json::Null, Json::from)
}

impl Builder<'_> {
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name())
    }

    pub fn unsigned(&self, name: &str) -> Result<Option<u64>> {
        self.file.unsigned(&self.key(name))
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>> {
        self.file.float(&self.key(name))
    }

    /// A size that must be there and be at least 1.
    pub fn size(&self, name: &str) -> Result<u64> {
        let (key, expected) = (self.key(name), "an integer of at least 1");
        match self.file.unsigned(&key)? {
            Some(0) => Err(self.file.field(&key, expected, "0")),
            found => self.file.required(&key, expected, found),
        }
    }

    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.config.insert(key.into(), value.into());
    }

    /// Copies a float that must be there.
    pub fn epsilon(&mut self, key: &str, name: &str) -> Result<()> {
        let full = self.key(name);
        let value = self.file.required(&full, "a float", self.float(name)?)?;
        self.set(key, decimal(value));
        Ok(())
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.tensor(tensor).is_ok()
    }

    /// Whether modules have biases: all of them or none.
    pub fn biased(&self, modules: &[&str]) -> Result<bool> {
        let with = modules
            .iter()
            .filter(|module| self.has(&format!("blk.0.{module}.bias")))
            .count();
        if with == 0 || with == modules.len() {
            return Ok(with > 0);
        }
        Err(FormatError::Tensor {
            path: self.file.path().to_owned(),
            tensor: "blk.0".into(),
            expected: format!("biases in all of {modules:?} or in none"),
            found: format!("{with} of {}", modules.len()),
            fix: "this is another architecture under this name; convert the model again",
        })
    }
}

/// The head counts; 0 for the Mambas, which have none.
pub(super) fn heads(file: &GgufFile, architecture: Architecture) -> Result<HeadCounts> {
    if architecture.is_state_space() {
        return Ok(HeadCounts {
            query: 0,
            key_value: 0,
        });
    }
    let builder = Builder {
        file,
        architecture,
        config: Map::new(),
    };
    let query = builder.size("attention.head_count")?;
    let key = builder.key("attention.head_count_kv");
    let key_value = file.unsigned(&key)?.unwrap_or(query);
    if key_value == 0 || !query.is_multiple_of(key_value) {
        let expected = format!("a divisor of the {query} query heads");
        return Err(file.field(&key, expected, key_value.to_string()));
    }
    Ok(HeadCounts {
        query: query as usize,
        key_value: key_value as usize,
    })
}

/// The whole configuration.
pub(super) fn build(file: &GgufFile, architecture: Architecture) -> Result<Map<String, Json>> {
    let mut b = Builder {
        file,
        architecture,
        config: Map::new(),
    };
    let experts = b.key("expert_count");
    if let Some(count) = file.unsigned(&experts)?.filter(|&count| count > 0) {
        return Err(file.field(&experts, "a dense model, 0 experts", count.to_string()));
    }
    let (model_type, class) = match architecture {
        // Hugging Face's Llama has no windows; its Mistral has, and is otherwise the same.
        Architecture::Llama if b.unsigned("attention.sliding_window")?.unwrap_or(0) > 0 => {
            ("mistral", "MistralForCausalLM")
        }
        Architecture::Llama => ("llama", "LlamaForCausalLM"),
        Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Architecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Architecture::Gemma => ("gemma", "GemmaForCausalLM"),
        Architecture::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
        Architecture::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
        Architecture::Phi3 => ("phi3", "Phi3ForCausalLM"),
        Architecture::Gpt2 => ("gpt2", "GPT2LMHeadModel"),
        Architecture::Mamba => ("mamba", "MambaForCausalLM"),
        Architecture::Mamba2 => ("mamba2", "Mamba2ForCausalLM"),
        Architecture::Granite | Architecture::SmolLm3 | Architecture::GptNeoX => {
            return Err(super::not_read(file, architecture.name()));
        }
    };
    b.set("model_type", model_type);
    b.set("architectures", json!([class]));
    b.set("tie_word_embeddings", !b.has("output.weight"));
    let layers = layers(&b)?;
    let rows = vocabulary(&b)?;
    b.set("vocab_size", rows);
    match architecture {
        Architecture::Gpt2 => gpt2(&mut b, layers)?,
        Architecture::Mamba => mamba(&mut b, layers)?,
        Architecture::Mamba2 => mamba2(&mut b, layers)?,
        _ => decoder(&mut b, layers)?,
    }
    for (key, id) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = file.unsigned(id)? {
            b.set(key, id);
        }
    }
    Ok(b.config)
}

/// The number of blocks, which every block's number must be below.
fn layers(b: &Builder) -> Result<u64> {
    let layers = b.size("block_count")?;
    for (name, _) in b.file.tensors() {
        if let Some((number, _)) = layer_and_rest(name, "blk.")
            && number as u64 >= layers
        {
            return Err(FormatError::Tensor {
                path: b.file.path().to_owned(),
                tensor: shorten(name),
                expected: format!("a block below `{}` = {layers}", b.key("block_count")),
                found: format!("block {number}"),
                fix: "download the file again, or convert the model again",
            });
        }
    }
    Ok(layers)
}

/// Rows of the embedding, at least as many as the tokenizer has tokens.
fn vocabulary(b: &Builder) -> Result<u64> {
    let embedding = b.file.tensor("token_embd.weight")?;
    let width = b.size("embedding_length")?;
    let (rows, columns) = match embedding.shape[..] {
        [rows, columns] => (rows, columns as u64),
        _ => (0, 0),
    };
    let key = "tokenizer.ggml.tokens";
    let tokens = match b.file.value(key) {
        Some(crate::gguf::Value::Array(array)) => array.len(),
        _ => 0,
    };
    if columns != width || rows < tokens {
        return Err(FormatError::Tensor {
            path: b.file.path().to_owned(),
            tensor: "token_embd.weight".into(),
            expected: format!("at least {tokens} rows, one a token, of {width} elements"),
            found: format!("{:?}", embedding.shape),
            fix: "download the file again, or convert the model again",
        });
    }
    Ok(rows as u64)
}

/// Everything but GPT-2 and the Mambas.
fn decoder(b: &mut Builder, layers: u64) -> Result<()> {
    let heads = heads(b.file, b.architecture)?;
    let width = b.size("embedding_length")?;
    let query = heads.query as u64;
    let head_dim = match b.unsigned("attention.key_length")? {
        Some(0) | None if !width.is_multiple_of(query) => {
            let key = b.key("attention.head_count");
            let expected = format!("a divisor of the width {width}, or `attention.key_length`");
            return Err(b.file.field(&key, expected, query.to_string()));
        }
        Some(0) | None => width / query,
        Some(length) => length,
    };
    if let Some(value) = b
        .unsigned("attention.value_length")?
        .filter(|&v| v != head_dim)
    {
        let key = b.key("attention.value_length");
        let expected = format!("the {head_dim} of the keys");
        return Err(b.file.field(&key, expected, value.to_string()));
    }
    b.set("hidden_size", width);
    b.set("intermediate_size", b.size("feed_forward_length")?);
    b.set("num_hidden_layers", layers);
    b.set("num_attention_heads", query);
    b.set("num_key_value_heads", heads.key_value as u64);
    b.set("head_dim", head_dim);
    b.set("max_position_embeddings", b.size("context_length")?);
    b.epsilon("rms_norm_eps", "attention.layer_norm_rms_epsilon")?;
    let window = b.unsigned("attention.sliding_window")?.filter(|&w| w > 0);
    let activation = if b.architecture.is_gemma() {
        "gelu_pytorch_tanh"
    } else {
        "silu"
    };
    b.set("hidden_act", activation);
    match b.architecture {
        Architecture::Llama => {
            let attention = b.biased(&["attn_q", "attn_k", "attn_v", "attn_output"])?;
            let mlp = b.biased(&["ffn_gate", "ffn_up", "ffn_down"])?;
            match window {
                Some(_) if attention || mlp => {
                    let key = b.key("attention.sliding_window");
                    let expected = "no window in a model with biases";
                    return Err(b.file.field(&key, expected, "one"));
                }
                Some(window) => b.set("sliding_window", window),
                None => {
                    b.set("attention_bias", attention);
                    b.set("mlp_bias", mlp);
                }
            }
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            b.set("use_sliding_window", false);
            if b.architecture == Architecture::Qwen3 {
                let biased = b.biased(&["attn_q", "attn_k", "attn_v", "attn_output"])?;
                b.set("attention_bias", biased);
            }
        }
        Architecture::Phi3 => b.set("sliding_window", window),
        _ => gemma(b, layers, head_dim, window)?,
    }
    rope::set(b, head_dim)
}
