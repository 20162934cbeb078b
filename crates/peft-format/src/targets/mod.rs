//! Which modules an adapter applies to: PEFT's `target_modules` and its relatives.
//!
//! The rules are those of PEFT 0.21's `check_target_module_exists`, `match_target_against_key`,
//! `_maybe_include_all_linear_layers` and `get_pattern_key`. Patterns are Python regular
//! expressions, look-around included, for fine-tuning tools write targets such as
//! `^(?!.*visual).*(q_proj|v_proj)$`.

mod error;
mod matcher;
mod parse;
mod pattern;
mod resolve;

use std::str::FromStr;

pub use error::{NearMisses, TargetError};
pub use matcher::TargetMatcher;
pub use pattern::{PATTERN_LIMIT, PatternMap, pattern_value};
pub use resolve::{ResolveOptions, Resolved};

/// What a list entry or a pattern is matched against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// A module matches if its path is an entry or ends in `.` + an entry.
    List(Vec<String>),
    /// A module matches if the whole path matches.
    Regex(String),
    /// Every linear layer but the heads.
    AllLinear,
    /// The configuration names no targets (`target_modules: null`): nothing matches. PEFT then
    /// falls back on the model type, see [`default_targets`].
    Unspecified,
}

/// Modules that are left out although `modules` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclude {
    /// As [`TargetModules::List`].
    List(Vec<String>),
    /// As [`TargetModules::Regex`].
    Regex(String),
}

/// Which biases of the base are trained beside adapters, and saved with them: PEFT's `bias`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of the whole model.
    All,
    /// Those of the adapted layers. PEFT has a word of its own for every method, such as `lora_only`; it is
    /// kept as it is.
    Targets(String),
}

impl Bias {
    /// What PEFT's words of the third kind end in.
    const ONLY: &'static str = "_only";

    /// The word in a configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::Targets(word) => word,
        }
    }

    /// Whether the parameter of a name is a bias that is trained, where `is_adapted` tells the modules with
    /// adapters.
    pub fn trains(&self, parameter: &str, is_adapted: impl Fn(&str) -> bool) -> bool {
        let module = parameter.strip_suffix(".bias");
        match self {
            Self::None => false,
            Self::All => module.is_some() || parameter == "bias",
            Self::Targets(_) => module.is_some_and(is_adapted),
        }
    }
}

impl FromStr for Bias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            word if word.ends_with(Self::ONLY) => Ok(Self::Targets(word.to_owned())),
            _ => Err("give none, all, or lora_only for those of adapted layers".into()),
        }
    }
}

/// The complete choice of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpec {
    /// What is adapted.
    pub modules: TargetModules,
    /// What is not, even so.
    pub exclude: Option<Exclude>,
    /// Only in layers of these numbers; `None` and an empty list mean all. PEFT applies it to
    /// suffix entries only: an entry that is a whole path always matches.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Patterns of the name before the layer number, such as `layers`; `None` and an empty list
    /// mean the first number in the path.
    pub layers_pattern: Option<Vec<String>>,
    /// Modules that are trained and saved whole: they and everything below are never adapted.
    pub modules_to_save: Vec<String>,
    /// Biases of the base that are trained, too.
    pub bias: Bias,
}

impl TargetSpec {
    /// Targets without any restriction.
    pub fn new(modules: TargetModules) -> Self {
        Self {
            modules,
            exclude: None,
            layers_to_transform: None,
            layers_pattern: None,
            modules_to_save: Vec::new(),
            bias: Bias::None,
        }
    }
}

/// What kind of module a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModuleKind {
    /// `nn.Linear`, weight `[out, in]`.
    Linear,
    /// Hugging Face's `Conv1D` (GPT-2): a linear layer with weight `[in, out]`.
    TransposedLinear,
    /// `nn.Embedding`.
    Embedding,
    /// A true one-dimensional convolution.
    Conv1d,
    /// A two-dimensional convolution.
    Conv2d,
    /// A parameter by itself: a bias, a norm's scale, `A_log` of a state-space model.
    Parameter,
    /// A place of a block where a module may be inserted.
    Slot,
    /// Anything else: containers, norms, activations.
    Other,
}

impl ModuleKind {
    /// True for the kinds that `all-linear` means.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Linear | Self::TransposedLinear)
    }
}

/// A module of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Hugging Face module path, such as `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Its kind.
    pub kind: ModuleKind,
    /// The module that a parameter by itself belongs to, where that is no target: targets that name it mean the parameter.
    pub holder: Option<String>,
}

impl ModuleInfo {
    /// A module.
    pub fn new(path: impl Into<String>, kind: ModuleKind) -> Self {
        Self {
            path: path.into(),
            kind,
            holder: None,
        }
    }

    /// A parameter of a module that is no target by itself.
    #[must_use]
    pub fn held_by(self, holder: Option<String>) -> Self {
        Self { holder, ..self }
    }
}

/// PEFT's targets for a `model_type` when a LoRA configuration names none.
pub fn default_targets(model_type: &str) -> Option<TargetModules> {
    let names: &[&str] = match model_type {
        "bert" | "roberta" | "xlm-roberta" | "electra" | "layoutlm" => &["query", "value"],
        "deberta-v2" => &["query_proj", "value_proj"],
        "deberta" => &["in_proj"],
        "t5" | "mt5" => &["q", "v"],
        "gpt2" | "gpt_bigcode" => &["c_attn"],
        "bloom" | "gpt_neox" | "chatglm" | "falcon" | "RefinedWeb" | "RefinedWebModel" => {
            &["query_key_value"]
        }
        "phi" => &["q_proj", "v_proj", "fc1", "fc2"],
        "nemotron_h" => &["q_proj", "k_proj", "v_proj", "o_proj"],
        "bart" | "opt" | "gptj" | "gpt_neo" | "llama" | "llama4" | "mistral" | "mixtral"
        | "stablelm" | "gemma" | "gemma2" | "gemma3_text" | "qwen2" | "qwen3" => {
            &["q_proj", "v_proj"]
        }
        _ => return None,
    };
    Some(TargetModules::List(
        names.iter().map(ToString::to_string).collect(),
    ))
}

#[cfg(test)]
mod tests;
