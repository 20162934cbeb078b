//! What a `config.json` says, in one vocabulary for all families of a kind.

mod decoder;
mod encoder;
mod families;
mod fields;
mod mamba;
mod modernbert;
mod relative;
mod rope;
mod words;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

pub use decoder::{DecoderConfig, FeedForwardLayout, NormKind, QkvLayout, SpaceBlocks};
pub use encoder::{Activation, EncoderConfig, Family, Pooling};
pub use mamba::{MambaConfig, StateSpace};
pub use relative::{Disentangled, RelativePositions};
pub use rope::{RopeConfig, RopeScaling};

use crate::ModelError;

/// Limit of `config.json`, far above any real one.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Every `model_type` that a model can be made of.
const SUPPORTED: &str = "supported are bert, roberta, xlm-roberta, camembert, distilbert, albert, \
                         electra, mpnet, deberta-v2, modernbert, llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3, gpt2, \
                         gpt_neox, granite, smollm3, jamba, mamba, mamba2 and falcon_mamba";

/// What is wrong, and what to do.
type Fault = (String, &'static str);

/// The architecture that a `config.json` describes.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// An encoder of the BERT family.
    Encoder(EncoderConfig),
    /// A decoder of pre-norm blocks of attention, or of attention and state spaces.
    Decoder(DecoderConfig),
    /// A stack of selective state spaces.
    Mamba(MambaConfig),
}

impl ModelConfig {
    /// Read a folder's `config.json`.
    ///
    /// # Errors
    /// If it is missing, broken, or describes an architecture that is not supported.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let fault = |problem: String, fix: &str| ModelError::Config {
            path: path.to_owned(),
            problem,
            fix: fix.to_owned(),
        };
        let size = std::fs::metadata(path)
            .map_err(|error| {
                let fix = "give a Hugging Face model folder or a GGUF file";
                fault(error.to_string(), fix)
            })?
            .len();
        if size > MAX_CONFIG_BYTES {
            return Err(fault(
                format!("{size} bytes are no configuration"),
                "check the folder",
            ));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| fault(error.to_string(), "check the file's encoding and rights"))?;
        peft_format::bounded::refuse_pointer(path, text.as_bytes())?;
        let text = peft_format::python_json::standard(text.as_bytes());
        let map: Map<String, Value> = serde_json::from_slice(&text)
            .map_err(|error| fault(format!("not JSON: {error}"), "fetch the file again"))?;
        Self::of(path, &map)
    }

    /// The architecture that the fields of a `config.json` describe; `path` appears in errors only.
    ///
    /// # Errors
    /// If it is not supported.
    pub fn of(path: &Path, fields: &Map<String, Value>) -> Result<Self, ModelError> {
        Self::from_json(fields).map_err(|(problem, fix)| ModelError::Config {
            path: path.to_owned(),
            problem,
            fix: fix.to_owned(),
        })
    }

    /// The architecture of a configuration's fields.
    pub(crate) fn from_json(map: &Map<String, Value>) -> Result<Self, Fault> {
        let quantised = map.get("quantization_config").filter(|q| !q.is_null());
        if let Some(quantised) = quantised.filter(|quantised| !is_nf4(quantised)) {
            let method = quantised.get("quant_method").and_then(Value::as_str);
            let method = method.map_or("in a way that it does not name".into(), |name| {
                format!("by `{}`", peft_format::shorten(name))
            });
            return Err((
                format!("the checkpoint is quantised {method} (`quantization_config`)"),
                "use the checkpoint in full or half precision, as a GGUF file, or as NF4 of bitsandbytes",
            ));
        }
        let model_type = map.get("model_type").and_then(Value::as_str).unwrap_or("");
        match model_type {
            kind if MambaConfig::is_of(kind, map) => MambaConfig::from_json(map).map(Self::Mamba),
            kind if families::is_decoder(kind) => DecoderConfig::from_json(map).map(Self::Decoder),
            _ => EncoderConfig::from_json(map).map(Self::Encoder),
        }
    }

    /// `model_type`, as written.
    pub fn model_type(&self) -> &str {
        match self {
            Self::Encoder(config) => &config.model_type,
            Self::Decoder(config) => &config.model_type,
            Self::Mamba(config) => config.model_type(),
        }
    }

    /// The longest sequence.
    pub fn max_length(&self) -> usize {
        match self {
            Self::Encoder(config) => config.max_length(),
            Self::Decoder(config) => config.max_length(),
            Self::Mamba(_) => usize::MAX,
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Encoder(config) => config.vocab_size,
            Self::Decoder(config) => config.vocab_size,
            Self::Mamba(config) => config.vocab_size,
        }
    }

    /// Names of the labels, by number; empty where the file has none.
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Encoder(config) => &config.labels,
            Self::Decoder(config) => &config.labels,
            Self::Mamba(_) => &[],
        }
    }

    /// Standard deviation of fresh weights.
    pub fn initializer_range(&self) -> f64 {
        match self {
            Self::Encoder(config) => config.initializer_range,
            Self::Decoder(config) => config.initializer_range,
            Self::Mamba(config) => config.initializer_range,
        }
    }

    /// Whether a language model's logits come of its table of tokens.
    pub(crate) fn is_tied(&self) -> bool {
        match self {
            Self::Encoder(_) => false,
            Self::Decoder(config) => config.tied,
            Self::Mamba(config) => config.tied,
        }
    }

    /// Let a language model have a head of its own.
    pub(crate) fn untie(&mut self) {
        match self {
            Self::Encoder(_) => {}
            Self::Decoder(config) => config.tied = false,
            Self::Mamba(config) => config.tied = false,
        }
    }

    /// Whether a model of this kind predicts the next token.
    pub fn is_causal(&self) -> bool {
        !matches!(self, Self::Encoder(_))
    }

    /// Whether the model itself drops anything in training.
    pub fn drops(&self) -> bool {
        let all = match self {
            Self::Encoder(config) => [
                config.hidden_dropout,
                config.attention_dropout,
                config.head_dropout.max(config.pooler_dropout),
            ],
            Self::Decoder(config) => [
                config.embedding_dropout,
                config.hidden_dropout,
                config.attention_dropout,
            ],
            Self::Mamba(_) => [0.0; 3],
        };
        all.iter().any(|probability| *probability > 0.0)
    }

    /// Whether blocks share their layers (ALBERT's do).
    pub fn shares_layers(&self) -> bool {
        matches!(self, Self::Encoder(config) if config.distinct_layers < config.layers)
    }

    /// Drop with this probability everywhere in training.
    pub(crate) fn set_dropout(&mut self, probability: f64) {
        match self {
            Self::Encoder(config) => {
                config.hidden_dropout = probability;
                config.attention_dropout = probability;
                config.head_dropout = probability;
                // Others have none of their own there.
                if config.family == Family::DebertaV2 {
                    config.pooler_dropout = probability;
                }
                if let Some(blocks) = &mut config.blocks {
                    blocks.set_dropout(probability);
                }
            }
            Self::Decoder(config) => config.set_dropout(probability),
            // A state-space block drops nothing.
            Self::Mamba(_) => {}
        }
    }
}

/// The labels that a file names.
fn named(map: &Map<String, Value>) -> Result<Vec<String>, Fault> {
    let names = map.get("id2label").filter(|names| !names.is_null());
    let names = names.map(|names| serde_json::from_value(names.clone()));
    let names = names.transpose().map_err(|error| {
        (
            format!("`id2label`: {error}"),
            "correct the names of the labels",
        )
    })?;
    Ok(labels(names.unwrap_or_default()))
}

/// Names in the order of their numbers; none unless the numbers are 0, 1, 2 and so on.
fn labels(id2label: BTreeMap<String, String>) -> Vec<String> {
    let mut named: Vec<(usize, String)> = id2label
        .into_iter()
        .filter_map(|(id, name)| Some((id.parse().ok()?, name)))
        .collect();
    named.sort();
    let complete = named
        .iter()
        .enumerate()
        .all(|(index, (id, _))| index == *id);
    if complete {
        named.into_iter().map(|(_, name)| name).collect()
    } else {
        Vec::new()
    }
}

/// Whether a `quantization_config` says that the weights are NF4 of bitsandbytes.
fn is_nf4(config: &Value) -> bool {
    let says = |key: &str, value: Value| config.get(key) == Some(&value);
    says("quant_method", "bitsandbytes".into())
        && says("load_in_4bit", true.into())
        && says("bnb_4bit_quant_type", "nf4".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_need_every_number() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert_eq!(labels(map(&[("1", "b"), ("0", "a")])), ["a", "b"]);
        assert!(labels(map(&[("0", "a"), ("2", "c")])).is_empty());
    }
}
