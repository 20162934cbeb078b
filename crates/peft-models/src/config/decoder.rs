use peft_core::kernels::Activation;
use serde_json::{Map, Value};

use super::{Fault, MambaConfig, RopeConfig, RopeScaling, families, fields::ConfigFields, named};

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Layer normalisation, with weight and bias.
    Layer,
    /// Layer normalisation with a weight alone (ModernBERT).
    LayerWithoutBias,
    /// By the root of the mean square, times the weight.
    Rms,
    /// By the root of the mean square, times one more than the weight (Gemma).
    RmsPlusOne,
}

/// How queries, keys and values lie in their weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvLayout {
    /// Three matrices.
    Separate,
    /// One matrix: all queries, all keys, all values.
    Fused,
    /// One matrix: query, key and value of each head in turn (GPT-NeoX).
    FusedByHead,
}

/// How the first half of a feed-forward part lies in its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardLayout {
    /// No gate.
    Plain,
    /// A gate in a matrix of its own.
    Gated,
    /// Gate and first half in one matrix: the gate first (Phi-3).
    GatedFused,
}

/// State spaces in place of attention in some blocks (Jamba).
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceBlocks {
    /// What they are; sizes of the model are those of the decoder.
    pub config: MambaConfig,
    /// Of each block, whether it has one.
    pub of: Vec<bool>,
}

/// A decoder of pre-norm attention blocks: what a `config.json` says of it, in one vocabulary for all
/// families.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// `model_type`, as written.
    pub model_type: String,
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the model, `d`.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads, `H`.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head, `D`; `H · D` need not be `d`.
    pub head_width: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// The norms.
    pub norm: NormKind,
    /// ε of the norms.
    pub norm_eps: f64,
    /// Whether a token sees only those before it, as in every decoder; ModernBERT's blocks see both sides.
    pub causal: bool,
    /// Whether the first block has a norm before its attention; ModernBERT's has none.
    pub first_norm: bool,
    /// Whether queries and keys of each head are normalised.
    pub head_norms: bool,
    /// Whether attention and feed-forward part end in a norm of their own (Gemma 2 and 3).
    pub post_norms: bool,
    /// Whether attention and feed-forward part read the same rows and are added together (GPT-NeoX).
    pub parallel: bool,
    /// Weights of queries, keys and values.
    pub qkv: QkvLayout,
    /// Weights of the feed-forward part.
    pub feed_forward: FeedForwardLayout,
    /// Whether the checkpoint holds linear weights as `[in, out]` (GPT-2).
    pub transposed: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward part has biases.
    pub feed_forward_bias: bool,
    /// The nonlinearity.
    pub activation: Activation,
    /// Factor of the scores.
    pub attention_scale: f64,
    /// Whether the scores of block `i` are divided by `i + 1`, too (an option of GPT-2).
    pub scale_by_depth: bool,
    /// Limit of the scores, `c · tanh(s / c)`.
    pub attention_softcap: Option<f64>,
    /// Of each block, how many keys a query sees, its own among them, on each side that it sees; all where none is given.
    pub windows: Vec<Option<usize>>,
    /// Kinds of rotary positions.
    pub ropes: Vec<RopeConfig>,
    /// Of each block, its kind among `ropes`; none for a block without positions.
    pub rope_of: Vec<Option<usize>>,
    /// Which blocks have state spaces in place of attention; none of them in most families.
    pub spaces: Option<Box<SpaceBlocks>>,
    /// Whether positions have a table (GPT-2).
    pub learned_positions: bool,
    /// Factor of the embedded tokens.
    pub embedding_scale: f64,
    /// Factor of what a block adds to its rows.
    pub residual_scale: f64,
    /// Divisor of the logits.
    pub logits_divisor: f64,
    /// Limit of the logits, `c · tanh(l / c)`.
    pub logits_softcap: Option<f64>,
    /// Whether the table of the tokens is the head, too.
    pub tied: bool,
    /// Dropout of the embedded tokens in training.
    pub embedding_dropout: f64,
    /// Dropout of what blocks add in training.
    pub hidden_dropout: f64,
    /// Dropout of attention weights in training.
    pub attention_dropout: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The token that pads, which is not a sequence's last for a score.
    pub pad_token: Option<u32>,
    /// Names of the labels, by number; empty where the file has none.
    pub labels: Vec<String>,
}

impl DecoderConfig {
    /// Factor on rows of a prompt, which come in place of embedded tokens: some families scale those when they look them up,
    /// and others whatever comes in.
    pub(crate) fn prompt_scale(&self) -> f64 {
        match self.model_type.as_str() {
            "granite" => self.embedding_scale,
            _ => 1.0,
        }
    }

    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Self, Fault> {
        let mut config = families::read(ConfigFields(map))?;
        config.labels = named(map)?;
        config.checked()
    }

    /// What every family's fields have in common; a plain llama where nothing else is said.
    pub(super) fn base(fields: ConfigFields, sizes: &Defaults) -> Result<Self, Fault> {
        let hidden_size = fields.needed(&["hidden_size", "n_embd"])?;
        let heads = fields.needed(&["num_attention_heads", "n_head"])?;
        let head_width = match fields.size(&["head_dim"])?.or(sizes.head_width) {
            Some(width) => width,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err((
                    format!("{heads} heads do not divide {hidden_size}"),
                    "fetch the file again",
                ));
            }
        };
        let kv_heads = match fields.size(&["num_key_value_heads"])? {
            Some(kv_heads) => kv_heads,
            None if fields.has("num_key_value_heads") => heads,
            None => sizes.kv_heads.unwrap_or(heads),
        };
        let layers = fields.needed(&["num_hidden_layers", "n_layer"])?;
        if layers > 4096 {
            return Err((
                format!("{layers} layers make no model"),
                "fetch the file again",
            ));
        }
        let intermediate_size = match fields.size(&["intermediate_size", "n_inner"])? {
            Some(wide) => wide,
            None => 4 * hidden_size,
        };
        let pad_token = fields.size(&["pad_token_id"]).unwrap_or(None);
        Ok(Self {
            model_type: fields.text(&["model_type"])?.unwrap_or_default().to_owned(),
            vocab_size: fields.needed(&["vocab_size"])?,
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads,
            head_width,
            max_positions: fields.needed(&["max_position_embeddings", "n_positions"])?,
            norm: NormKind::Rms,
            norm_eps: fields.positive("rms_norm_eps", sizes.norm_eps)?,
            causal: true,
            first_norm: true,
            head_norms: false,
            post_norms: false,
            parallel: false,
            qkv: QkvLayout::Separate,
            feed_forward: FeedForwardLayout::Gated,
            transposed: false,
            qkv_bias: false,
            output_bias: false,
            feed_forward_bias: false,
            activation: Activation::Silu,
            attention_scale: (head_width as f64).powf(-0.5),
            scale_by_depth: false,
            attention_softcap: None,
            windows: vec![None; layers],
            ropes: Vec::new(),
            rope_of: vec![None; layers],
            spaces: None,
            learned_positions: false,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logits_divisor: 1.0,
            logits_softcap: None,
            tied: fields.flag("tie_word_embeddings", sizes.tied)?,
            embedding_dropout: 0.0,
            hidden_dropout: 0.0,
            attention_dropout: fields.dropout("attention_dropout", 0.0)?,
            initializer_range: fields.positive("initializer_range", 0.02)?,
            pad_token: pad_token.and_then(|id| u32::try_from(id).ok()),
            labels: Vec::new(),
        })
    }

    pub(super) fn checked(self) -> Result<Self, Fault> {
        let sizes = [
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_width),
            ("intermediate_size", self.intermediate_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err((format!("`{name}` is or comes to 0"), "fetch the file again"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err((
                format!(
                    "{} key heads do not divide {} heads",
                    self.kv_heads, self.heads
                ),
                "fetch the file again",
            ));
        }
        let widths = [
            self.query_width(),
            self.qkv_width(),
            2 * self.intermediate_size,
        ];
        if widths.iter().any(|width| *width >= 1 << 28) {
            return Err((
                format!("widths {widths:?} make no model"),
                "fetch the file again",
            ));
        }
        if let Some(rope) = self.ropes.iter().find(|rope| rope.width > self.head_width) {
            return Err((
                format!(
                    "{} channels are rotated, but a head has {}",
                    rope.width, self.head_width
                ),
                "fetch the file again",
            ));
        }
        Ok(self)
    }

    /// Drop with this probability everywhere in training.
    pub(super) fn set_dropout(&mut self, probability: f64) {
        self.embedding_dropout = probability;
        self.hidden_dropout = probability;
        self.attention_dropout = probability;
    }

    /// The state space of the block at a depth, where it has one.
    pub fn space_of(&self, depth: usize) -> Option<&MambaConfig> {
        let spaces = self.spaces.as_ref()?;
        spaces.of[depth].then_some(&spaces.config)
    }

    /// Width of all queries, `H · D`.
    pub fn query_width(&self) -> usize {
        self.heads.saturating_mul(self.head_width)
    }

    /// Width of all keys, and of all values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads.saturating_mul(self.head_width)
    }

    /// Width of queries, keys and values together.
    pub fn qkv_width(&self) -> usize {
        self.query_width().saturating_add(2 * self.kv_width())
    }

    /// The longest sequence that positions reach.
    pub fn max_length(&self) -> usize {
        let stretch = |rope: &RopeConfig| match rope.scaling {
            RopeScaling::Dynamic { factor } if factor > 1.0 => factor,
            _ => 1.0,
        };
        let most = self.ropes.iter().map(stretch).fold(1.0, f64::max);
        (self.max_positions as f64 * most) as usize
    }
}

/// What a family means where a field is absent.
pub(super) struct Defaults {
    pub kv_heads: Option<usize>,
    pub head_width: Option<usize>,
    pub norm_eps: f64,
    pub tied: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            kv_heads: None,
            head_width: None,
            norm_eps: 1e-6,
            tied: false,
        }
    }
}
