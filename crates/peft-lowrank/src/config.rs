use indexmap::IndexMap;
use peft_core::{AdapterError, own_settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{LoraMethod, tokens::TokenChoice};

const TOKENS: &str = "trainable_token_indices";

/// How `A` and `B` start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoraInit {
    /// `A` uniform on `±1/√in`, PEFT's default (Kaiming with a = √5); `B` zero.
    #[default]
    Kaiming,
    /// `A` normal with standard deviation `1/r`; `B` zero.
    Gaussian,
    /// At the weight's leading singular directions (PiSSA,
    /// [2404.02948](https://arxiv.org/abs/2404.02948)).
    Pissa {
        /// Power iterations of a randomised range finder; without a number, as many as the values take to
        /// settle.
        iterations: Option<usize>,
    },
    /// At the weight's orthogonal decomposition (OLoRA,
    /// [2406.01775](https://arxiv.org/abs/2406.01775)).
    Olora,
}

impl LoraInit {
    /// Whether it starts at an update that is taken off again.
    pub const fn is_offset(self) -> bool {
        matches!(self, Self::Pissa { .. } | Self::Olora)
    }
}

/// The settings of LoRA, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LoraConfig {
    /// Rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Numerator of the scale.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "alpha")))]
    pub lora_alpha: f64,
    /// Dropout of an adapter's input.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub lora_dropout: f64,
    /// Scale by α/√r instead of α/r.
    pub use_rslora: bool,
    /// Rank of some modules, by name or regular expression.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "PATTERN=N")))]
    pub rank_pattern: IndexMap<String, usize>,
    /// Alpha of some modules, by name or regular expression.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "PATTERN=F")))]
    pub alpha_pattern: IndexMap<String, f64>,
    /// How A and B start: true (A uniform, B zero), gaussian, pissa or pissa_niter_N (at the weight's
    /// leading singular directions, exactly or by N power iterations) or olora (at its orthogonal
    /// decomposition).
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "HOW")))]
    pub init_lora_weights: Value,
    /// Train the lengths of the weight's outputs beside their directions (DoRA).
    pub use_dora: bool,
    /// Train a bias beside B, too.
    pub lora_bias: bool,
    /// Tokens whose vectors are trained in full: numbers of tokens, or tables with theirs. A head that is the table
    /// of the tokens has the same vectors.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "IDS")))]
    pub trainable_token_indices: Value,
    /// Let the head of a model whose head is its table of tokens follow an adapter of the table. Without it the head
    /// stays what it is, as in PEFT.
    pub ensure_weight_tying: bool,
    /// Whether DoRA's norms count as constants in the gradient, as in PEFT. Concerns training only.
    pub dora_detach_norm: bool,
    /// Learning rate of B over that of A (LoRA+): above 1, with a learning rate somewhat lower than
    /// otherwise. Concerns training only.
    pub loraplus_lr_ratio: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 16.0,
            lora_dropout: 0.0,
            use_rslora: false,
            rank_pattern: IndexMap::new(),
            alpha_pattern: IndexMap::new(),
            init_lora_weights: Value::Bool(true),
            use_dora: false,
            lora_bias: false,
            trainable_token_indices: Value::Null,
            ensure_weight_tying: false,
            dora_detach_norm: true,
            loraplus_lr_ratio: 1.0,
        }
    }
}

impl LoraConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "r",
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "init_lora_weights",
        "use_dora",
        "lora_bias",
        "trainable_token_indices",
        "ensure_weight_tying",
        "dora_detach_norm",
        "loraplus_lr_ratio",
    ];

    /// Those that concern training only, and are in no adapter's file.
    pub const TRAINING_KEYS: &'static [&'static str] = &["dora_detach_norm", "loraplus_lr_ratio"];

    /// Settings of a rank and an alpha, all else as PEFT's defaults.
    pub fn new(r: usize, lora_alpha: f64) -> Self {
        Self {
            r,
            lora_alpha,
            ..Self::default()
        }
    }

    /// The defaults, as DoRA.
    pub fn dora() -> Self {
        Self {
            use_dora: true,
            ..Self::default()
        }
    }

    /// Read the method's keys out of a configuration; absent keys take PEFT's meaning.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        // A null means what absence means, here as elsewhere.
        map.retain(|_, value| !value.is_null());
        // PEFT's own default, which differs from the one this crate recommends.
        map.entry("lora_alpha").or_insert_with(|| Value::from(8));
        let config: Self = own_settings(LoraMethod::NAME, &map, Self::KEYS)?;
        config.validate()?;
        Ok(config)
    }

    /// The fewest keys that reproduce the adapter in any PEFT version that knows them.
    pub fn to_json(&self) -> Map<String, Value> {
        self.stored().keys()
    }

    fn keys(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("r".into(), self.r.into());
        map.insert("lora_alpha".into(), number(self.lora_alpha));
        map.insert("lora_dropout".into(), number(self.lora_dropout));
        if self.use_rslora {
            map.insert("use_rslora".into(), true.into());
        }
        if self.use_dora {
            map.insert("use_dora".into(), true.into());
        }
        if self.lora_bias {
            map.insert("lora_bias".into(), true.into());
        }
        match TokenChoice::of(&self.trainable_token_indices) {
            Ok(Some(TokenChoice::Input(tokens))) => {
                map.insert(TOKENS.into(), tokens.into());
            }
            Ok(Some(TokenChoice::Named(tables))) => {
                let tables = tables
                    .into_iter()
                    .map(|(name, tokens)| (name, tokens.into()));
                map.insert(TOKENS.into(), Value::Object(tables.collect()));
            }
            // Faults were told when the settings were read.
            Ok(None) | Err(_) => {}
        }
        if self.ensure_weight_tying {
            map.insert("ensure_weight_tying".into(), true.into());
        }
        if !self.rank_pattern.is_empty() {
            let ranks = self
                .rank_pattern
                .iter()
                .map(|(k, v)| (k.clone(), Value::from(*v)));
            map.insert("rank_pattern".into(), Value::Object(ranks.collect()));
        }
        if !self.alpha_pattern.is_empty() {
            let alphas = self
                .alpha_pattern
                .iter()
                .map(|(k, v)| (k.clone(), number(*v)));
            map.insert("alpha_pattern".into(), Value::Object(alphas.collect()));
        }
        map
    }

    /// How `A` starts.
    ///
    /// # Errors
    /// For PEFT's other initialisations.
    pub fn init(&self) -> Result<LoraInit, AdapterError> {
        match &self.init_lora_weights {
            Value::Bool(true) => Ok(LoraInit::Kaiming),
            Value::String(name) if name == "gaussian" => Ok(LoraInit::Gaussian),
            Value::String(name) if name == "pissa" => Ok(LoraInit::Pissa { iterations: None }),
            Value::String(name) if name == "olora" => Ok(LoraInit::Olora),
            other => {
                let iterations = other
                    .as_str()
                    .and_then(|name| name.strip_prefix("pissa_niter_"));
                let iterations = iterations.and_then(|iterations| iterations.parse::<usize>().ok());
                let iterations = iterations.filter(|iterations| (1..=1000).contains(iterations));
                if let Some(name) = other.as_str()
                    && (name.starts_with("corda") || name.starts_with("loftq"))
                {
                    return Err(fault(
                        format!(
                            "init_lora_weights = {other}: PEFT changes the base with it, and the adapter fits \
                             no other"
                        ),
                        "save it in PEFT with path_initial_model_for_weight_conversion, or, after LoftQ, give the \
                         base that PEFT made and set init_lora_weights to true",
                    ));
                }
                iterations
                    .map(|iterations| LoraInit::Pissa {
                        iterations: Some(iterations),
                    })
                    .ok_or_else(|| {
                        fault(
                            format!("init_lora_weights = {other} is not known"),
                            "use true, \"gaussian\", \"pissa\", \"pissa_niter_16\" or \"olora\"",
                        )
                    })
            }
        }
    }

    /// The settings of the plain LoRA that a file holds: of twice the rank where the file holds, besides the
    /// factors, those that the adapter started from (PiSSA and OLoRA).
    fn stored(&self) -> Self {
        if !self.init().is_ok_and(LoraInit::is_offset) {
            return self.clone();
        }
        // The scale stays: α / r, or α / √r.
        let alpha = if self.use_rslora {
            std::f64::consts::SQRT_2
        } else {
            2.0
        };
        let mut stored = self.clone();
        stored.init_lora_weights = Value::Bool(true);
        stored.r *= 2;
        stored.lora_alpha *= alpha;
        stored.rank_pattern.values_mut().for_each(|rank| *rank *= 2);
        stored
            .alpha_pattern
            .values_mut()
            .for_each(|one| *one *= alpha);
        stored
    }

    fn validate(&self) -> Result<(), AdapterError> {
        if self.r == 0 || self.rank_pattern.values().any(|rank| *rank == 0) {
            return Err(fault("the rank is 0".into(), "use a rank of 1 or more"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let problem = format!("lora_dropout = {} is not in [0, 1)", self.lora_dropout);
            return Err(fault(problem, "use a probability below 1"));
        }
        if !(self.loraplus_lr_ratio.is_finite() && self.loraplus_lr_ratio > 0.0) {
            let problem = format!("loraplus_lr_ratio = {}", self.loraplus_lr_ratio);
            return Err(fault(
                problem,
                "use a ratio above 0; 1 trains A and B alike",
            ));
        }
        if self.use_dora && self.init()?.is_offset() {
            return Err(fault(
                format!(
                    "use_dora with init_lora_weights = {}",
                    self.init_lora_weights
                ),
                "use one of them: the lengths are those of the weight as it is",
            ));
        }
        if self.lora_bias && (self.use_dora || self.init()?.is_offset()) {
            return Err(fault(
                "lora_bias with use_dora, PiSSA or OLoRA".into(),
                "leave one of them out: PEFT has no such files",
            ));
        }
        TokenChoice::of(&self.trainable_token_indices)?;
        let alphas = self.alpha_pattern.values().chain([&self.lora_alpha]);
        if let Some(alpha) = alphas
            .into_iter()
            .find(|alpha| !alpha.is_finite() || **alpha == 0.0)
        {
            let problem = format!("alpha = {alpha} would leave the adapter without effect");
            return Err(fault(problem, "use a finite alpha other than 0"));
        }
        Ok(())
    }
}

/// Whole numbers are written as integers: older PEFT types `lora_alpha` as an int.
pub(crate) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

pub(crate) fn fault(problem: String, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: LoraMethod::NAME.into(),
        problem,
        fix: fix.into(),
    }
}
