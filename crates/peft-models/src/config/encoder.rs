use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    DecoderConfig, Disentangled, Fault, RelativePositions, SUPPORTED, fields::ConfigFields, labels,
    modernbert, words::translated,
};

/// A family of encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// BERT, and MiniLM.
    Bert,
    /// RoBERTa and XLM-RoBERTa.
    Roberta,
    /// DistilBERT.
    DistilBert,
    /// ALBERT: one layer, applied many times.
    Albert,
    /// ELECTRA's discriminator: BERT with narrower embeddings and a head without a pooler.
    Electra,
    /// MPNet: RoBERTa with a number for each distance, added to the scores of all layers.
    MpNet,
    /// DeBERTa-v2 and -v3: BERT whose attention scores contents and distances apart.
    DebertaV2,
    /// ModernBERT: pre-norm blocks with rotary positions and windows.
    ModernBert,
}

/// The nonlinearity between the two halves of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU with the error function.
    Gelu,
    /// GELU with the hyperbolic tangent.
    GeluTanh,
    /// The positive part.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The one of a name.
    pub(super) fn named(name: &str) -> Result<Self, Fault> {
        Ok(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "tanh" => Self::Tanh,
            other => {
                let other = peft_format::shorten(other);
                return Err((
                    format!("activation `{other}` is not supported"),
                    "supported are gelu, gelu_new, relu and tanh",
                ));
            }
        })
    }
}

/// Which row of a sequence its head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// That of the first token.
    First,
    /// The mean of all.
    Mean,
}

/// The architecture that a `config.json` describes, in one vocabulary for all families.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// Which family.
    pub family: Family,
    /// `model_type`, as written.
    pub model_type: String,
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the embeddings; differs from `hidden_size` in ALBERT and ELECTRA only.
    pub embedding_size: usize,
    /// Width of the model.
    pub hidden_size: usize,
    /// How often a layer is applied.
    pub layers: usize,
    /// Layers with weights of their own.
    pub distinct_layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Rows of the position table.
    pub max_positions: usize,
    /// Position of the first token of a sequence.
    pub first_position: usize,
    /// Whether positions have a table.
    pub learned_positions: bool,
    /// What the attention knows of the distances of tokens.
    pub relative: Option<RelativePositions>,
    /// Segment types; 0 where there are none.
    pub type_vocab_size: usize,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// The nonlinearity.
    pub activation: Activation,
    /// Dropout of embeddings and block outputs in training.
    pub hidden_dropout: f64,
    /// Dropout of attention weights in training.
    pub attention_dropout: f64,
    /// Dropout before the dense layer of a sequence's head in training, where it has one of its own (DeBERTa).
    pub pooler_dropout: f64,
    /// Dropout before the task's head in training.
    pub head_dropout: f64,
    /// The nonlinearity of a sequence's head.
    pub head_activation: Activation,
    /// Whether the dense layer of a sequence's head has a bias.
    pub head_bias: bool,
    /// What a sequence's head reads.
    pub pooling: Pooling,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Names of the labels, by number; empty where the file has none.
    pub labels: Vec<String>,
    /// The blocks, where they are a decoder's that see both sides (ModernBERT).
    pub blocks: Option<Box<DecoderConfig>>,
}

#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    hidden_act: Option<String>,
    hidden_dropout_prob: Option<f64>,
    attention_probs_dropout_prob: Option<f64>,
    classifier_dropout: Option<f64>,
    initializer_range: Option<f64>,
    layer_norm_eps: Option<f64>,
    type_vocab_size: Option<usize>,
    pad_token_id: Option<usize>,
    embedding_size: Option<usize>,
    num_hidden_groups: Option<usize>,
    inner_group_num: Option<usize>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    add_cross_attention: Option<bool>,
    pooler_hidden_act: Option<String>,
    pooler_dropout: Option<f64>,
    cls_dropout: Option<f64>,
    pooler_hidden_size: Option<usize>,
    attention_head_size: Option<usize>,
    position_biased_input: Option<bool>,
    relative_attention_num_buckets: Option<usize>,
    id2label: Option<BTreeMap<String, String>>,
}

impl EncoderConfig {
    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Self, Fault> {
        let model_type = map.get("model_type").and_then(Value::as_str).unwrap_or("");
        let family = match model_type {
            "bert" => Family::Bert,
            "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
            "distilbert" => Family::DistilBert,
            "albert" => Family::Albert,
            "electra" => Family::Electra,
            "mpnet" => Family::MpNet,
            "deberta-v2" => Family::DebertaV2,
            "modernbert" => return modernbert::read(map),
            other => {
                let other = peft_format::shorten(other);
                return Err((format!("model_type `{other}` is not supported"), SUPPORTED));
            }
        };
        let fields = translated(map)?;
        let raw: Raw = serde_json::from_value(Value::Object(fields)).map_err(|error| {
            (
                error.to_string(),
                "use the configuration of a BERT-like encoder",
            )
        })?;
        let turns_causal = matches!(family, Family::Bert | Family::Roberta | Family::Electra);
        for (key, value) in [
            ("is_decoder", raw.is_decoder),
            ("add_cross_attention", raw.add_cross_attention),
        ] {
            if turns_causal && value == Some(true) {
                return Err((
                    format!(
                        "`{key}` is true: this is a decoder of encoder blocks, which is not supported"
                    ),
                    "use a decoder checkpoint to continue texts; set the field to false if the model is an \
                     encoder all the same",
                ));
            }
        }
        let activation = Activation::named(raw.hidden_act.as_deref().unwrap_or("gelu"))?;
        if raw
            .position_embedding_type
            .as_deref()
            .is_some_and(|kind| kind != "absolute")
        {
            return Err((
                "relative positions are not supported".into(),
                "use a checkpoint with absolute position embeddings",
            ));
        }
        let sizes = [
            raw.vocab_size,
            raw.hidden_size,
            raw.num_hidden_layers,
            raw.num_attention_heads,
            raw.intermediate_size,
            raw.max_position_embeddings,
        ];
        // Products of two sizes below 2^28 cannot overflow when tensors are sized.
        if sizes.iter().any(|size| *size == 0 || *size >= 1 << 28) || raw.num_hidden_layers > 4096 {
            return Err((
                format!("sizes {sizes:?} make no model"),
                "fetch the file again",
            ));
        }
        if !raw.hidden_size.is_multiple_of(raw.num_attention_heads) {
            return Err((
                format!(
                    "{} heads do not divide {}",
                    raw.num_attention_heads, raw.hidden_size
                ),
                "fetch the file again",
            ));
        }
        let distinct_layers = match family {
            Family::Albert => {
                if raw.num_hidden_groups.unwrap_or(1) != 1 || raw.inner_group_num.unwrap_or(1) != 1
                {
                    return Err((
                        "ALBERT with several layer groups is not supported".into(),
                        "use a checkpoint with one group of one layer",
                    ));
                }
                1
            }
            _ => raw.num_hidden_layers,
        };
        let hidden_dropout = raw.hidden_dropout_prob.unwrap_or(match family {
            Family::Albert => 0.0,
            _ => 0.1,
        });
        let own = match family {
            Family::DebertaV2 => raw.cls_dropout,
            Family::MpNet => None,
            _ => raw.classifier_dropout,
        };
        let head_dropout = own.unwrap_or(match family {
            Family::DistilBert => 0.2,
            Family::Albert => 0.1,
            _ => hidden_dropout,
        });
        let pooler_dropout = match family {
            Family::DebertaV2 => raw.pooler_dropout.unwrap_or(0.0),
            _ => 0.0,
        };
        let attention_dropout = raw.attention_probs_dropout_prob.unwrap_or(match family {
            Family::Albert => 0.0,
            _ => 0.1,
        });
        if [
            hidden_dropout,
            head_dropout,
            pooler_dropout,
            attention_dropout,
        ]
        .iter()
        .any(|p| !(0.0..1.0).contains(p))
        {
            return Err((
                "a dropout is not in [0, 1)".into(),
                "correct the configuration",
            ));
        }
        let first_position = match family {
            Family::Roberta => raw.pad_token_id.unwrap_or(1) + 1,
            Family::MpNet => 2,
            _ => 0,
        };
        let impossible = |size: &usize| *size == 0 || *size >= 1 << 28;
        if let Some(size) = raw.embedding_size.filter(impossible) {
            return Err((
                format!("`embedding_size` is {size}, which makes no table"),
                "fetch the file again",
            ));
        }
        if first_position >= raw.max_position_embeddings {
            return Err((
                "no positions are left after the padding".into(),
                "fetch the file again",
            ));
        }
        let relative = match family {
            Family::MpNet => Some(RelativePositions::Bias),
            Family::DebertaV2 => {
                let own = Disentangled::read(ConfigFields(map), raw.max_position_embeddings)?;
                Some(RelativePositions::Disentangled(own))
            }
            _ => None,
        };
        let width = raw.hidden_size;
        for (of, name, found, expected) in [
            (
                Family::MpNet,
                "relative_attention_num_buckets",
                raw.relative_attention_num_buckets,
                32,
            ),
            (
                Family::DebertaV2,
                "embedding_size",
                raw.embedding_size,
                width,
            ),
            (
                Family::DebertaV2,
                "pooler_hidden_size",
                raw.pooler_hidden_size,
                width,
            ),
            (
                Family::DebertaV2,
                "attention_head_size",
                raw.attention_head_size,
                width / raw.num_attention_heads,
            ),
        ] {
            if let Some(found) = found.filter(|found| of == family && *found != expected) {
                return Err((
                    format!("`{name}` is {found}: only {expected} is supported here"),
                    "use another checkpoint of the family",
                ));
            }
        }
        let head_activation = match family {
            Family::DistilBert => Activation::Relu,
            Family::Electra => Activation::Gelu,
            Family::DebertaV2 => {
                Activation::named(raw.pooler_hidden_act.as_deref().unwrap_or("gelu"))?
            }
            _ => Activation::Tanh,
        };
        Ok(Self {
            family,
            relative,
            learned_positions: family != Family::DebertaV2
                || raw.position_biased_input.unwrap_or(true),
            pooler_dropout,
            head_activation,
            head_bias: true,
            pooling: Pooling::First,
            blocks: None,
            vocab_size: raw.vocab_size,
            embedding_size: match family {
                Family::Albert | Family::Electra => raw.embedding_size.unwrap_or(128),
                _ => raw.hidden_size,
            },
            hidden_size: raw.hidden_size,
            layers: raw.num_hidden_layers,
            distinct_layers,
            heads: raw.num_attention_heads,
            intermediate_size: raw.intermediate_size,
            max_positions: raw.max_position_embeddings,
            first_position,
            type_vocab_size: match family {
                Family::DistilBert | Family::MpNet => 0,
                Family::DebertaV2 => raw.type_vocab_size.unwrap_or(0),
                _ => raw.type_vocab_size.unwrap_or(2),
            },
            layer_norm_eps: raw.layer_norm_eps.unwrap_or(match family {
                Family::DebertaV2 => 1e-7,
                _ => 1e-12,
            }),
            activation,
            hidden_dropout,
            attention_dropout,
            head_dropout,
            initializer_range: raw.initializer_range.unwrap_or(0.02),
            labels: labels(raw.id2label.unwrap_or_default()),
            model_type: model_type.to_owned(),
        })
    }

    /// The longest sequence that the position table has room for.
    pub fn max_length(&self) -> usize {
        self.max_positions - self.first_position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<EncoderConfig, String> {
        let map = serde_json::from_str(json).map_err(|e: serde_json::Error| e.to_string())?;
        EncoderConfig::from_json(&map).map_err(|(problem, fix)| format!("{problem}; {fix}"))
    }

    #[test]
    fn distilbert_has_its_own_words() {
        let config = parse(
            r#"{"model_type": "distilbert", "vocab_size": 99, "dim": 32, "n_layers": 2,
                "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 40,
                "activation": "gelu", "dropout": 0.2, "attention_dropout": 0.3}"#,
        )
        .unwrap();
        assert_eq!(
            (config.hidden_size, config.layers, config.type_vocab_size),
            (32, 2, 0)
        );
        assert_eq!(
            (config.hidden_dropout, config.attention_dropout),
            (0.2, 0.3)
        );
        assert_eq!(config.head_dropout, 0.2);
    }

    #[test]
    fn words_of_other_families_say_nothing() {
        let distil = r#""model_type": "distilbert", "vocab_size": 99, "dim": 32, "n_layers": 2,
            "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 40"#;
        let both = format!(
            r#"{{{distil}, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                "intermediate_size": 7, "hidden_dropout_prob": 0.4}}"#
        );
        let config = parse(&both).unwrap();
        assert_eq!((config.hidden_size, config.intermediate_size), (32, 64));
        let other = format!(r#"{{{distil}, "hidden_size": 16}}"#);
        let error = parse(&other).unwrap_err();
        assert!(
            error.contains("`dim` is 32") && error.contains("16"),
            "{error}"
        );

        let bert = r#""vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
            "num_attention_heads": 3, "intermediate_size": 8, "max_position_embeddings": 8"#;
        let words = r#""dim": 1, "n_layers": 7, "dropout": 0.5, "attention_dropout": 0.6,
            "seq_classif_dropout": 0.7"#;
        let config = parse(&format!(r#"{{"model_type": "bert", {bert}, {words}}}"#)).unwrap();
        assert_eq!((config.hidden_size, config.layers), (6, 1));
        let dropouts = [
            config.hidden_dropout,
            config.attention_dropout,
            config.head_dropout,
        ];
        assert_eq!(dropouts, [0.1; 3]);
        let albert =
            format!(r#"{{"model_type": "albert", {bert}, "classifier_dropout_prob": 0.3}}"#);
        assert_eq!(parse(&albert).unwrap().head_dropout, 0.3);
    }

    #[test]
    fn decoders_of_encoder_blocks_are_refused() {
        let bert = r#""vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
            "num_attention_heads": 3, "intermediate_size": 8, "max_position_embeddings": 8"#;
        for key in ["is_decoder", "add_cross_attention"] {
            for kind in ["bert", "roberta", "xlm-roberta"] {
                let json = format!(r#"{{"model_type": "{kind}", {bert}, "{key}": true}}"#);
                let error = parse(&json).unwrap_err();
                assert!(error.contains(key), "{error}");
                assert!(parse(&json.replace("true", "false")).is_ok());
            }
        }
    }

    #[test]
    fn hostile_values_are_errors() {
        let base = r#""vocab_size": 9, "num_hidden_layers": 1, "num_attention_heads": 3,
            "intermediate_size": 8, "max_position_embeddings": 8"#;
        for (json, word) in [
            (
                format!(r#"{{"model_type": "llama", "hidden_size": 6, {base}}}"#),
                "llama",
            ),
            (
                format!(r#"{{"model_type": "bert", "hidden_size": 0, {base}}}"#),
                "sizes",
            ),
            (
                format!(r#"{{"model_type": "bert", "hidden_size": 8, {base}}}"#),
                "divide",
            ),
            (
                format!(r#"{{"model_type": "bert", "hidden_size": -8, {base}}}"#),
                "invalid",
            ),
            (r#"{"model_type": "bert"}"#.to_owned(), "missing"),
        ] {
            let error = parse(&json).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
