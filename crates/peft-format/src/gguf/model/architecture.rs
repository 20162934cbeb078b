//! The architectures that are read, and what their tensors are called on either side.

/// A model family, `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama, and Mistral, SmolLM2, TinyLlama and others of the same shape.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3, the dense models.
    Qwen3,
    /// Gemma, the first.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text only.
    Gemma3,
    /// Phi-3, Phi-3.5, Phi-4 and Phi-4-mini.
    Phi3,
    /// GPT-2.
    Gpt2,
    /// Mamba, and FalconMamba.
    Mamba,
    /// Mamba-2.
    Mamba2,
    /// Granite, the dense models. Of this architecture adapters alone are read and written.
    Granite,
    /// SmolLM3, likewise.
    SmolLm3,
    /// GPT-NeoX, likewise.
    GptNeoX,
}

/// Modules outside the blocks: the file's name and Hugging Face's.
type Names = &'static [(&'static str, &'static str)];

const TOP: Names = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];
const GPT2_TOP: Names = &[
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
];
const MAMBA_TOP: Names = &[
    ("token_embd", "backbone.embeddings"),
    ("output_norm", "backbone.norm_f"),
    ("output", "lm_head"),
];
const NEOX_TOP: Names = &[
    ("token_embd", "gpt_neox.embed_in"),
    ("output_norm", "gpt_neox.final_layer_norm"),
    ("output", "lm_head"),
];
const BLOCK: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const NORM_BEFORE_MLP: Names = &[("ffn_norm", "post_attention_layernorm")];
const NORMS_AROUND: Names = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const HEAD_NORMS: Names = &[
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
];
const PHI3_BLOCK: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const GPT2_BLOCK: Names = &[
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];
const NEOX_BLOCK: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "attention.query_key_value"),
    ("attn_output", "attention.dense"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
];
const MAMBA_BLOCK: Names = &[
    ("attn_norm", "norm"),
    ("ssm_in", "mixer.in_proj"),
    ("ssm_conv1d", "mixer.conv1d"),
    ("ssm_x", "mixer.x_proj"),
    ("ssm_dt", "mixer.dt_proj"),
    ("ssm_a", "mixer.A_log"),
    ("ssm_d", "mixer.D"),
    ("ssm_out", "mixer.out_proj"),
];
const MAMBA2_BLOCK: Names = &[
    ("attn_norm", "norm"),
    ("ssm_in", "mixer.in_proj"),
    ("ssm_conv1d", "mixer.conv1d"),
    ("ssm_dt", "mixer.dt_bias"),
    ("ssm_a", "mixer.A_log"),
    ("ssm_d", "mixer.D"),
    ("ssm_norm", "mixer.norm"),
    ("ssm_out", "mixer.out_proj"),
];

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 13] = [
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Gpt2,
        Self::Mamba,
        Self::Mamba2,
        Self::Granite,
        Self::SmolLm3,
        Self::GptNeoX,
    ];

    /// The architectures whose models are read, and not their adapters alone.
    pub fn of_models() -> impl Iterator<Item = Self> {
        let adapters_alone = [Self::Granite, Self::SmolLm3, Self::GptNeoX];
        let all = Self::ALL.into_iter();
        all.filter(move |architecture| !adapters_alone.contains(architecture))
    }

    /// The name in `general.architecture`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
            Self::Gpt2 => "gpt2",
            Self::Mamba => "mamba",
            Self::Mamba2 => "mamba2",
            Self::Granite => "granite",
            Self::SmolLm3 => "smollm3",
            Self::GptNeoX => "gptneox",
        }
    }

    /// The architecture of this name in `general.architecture`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The architecture that files of a Hugging Face `model_type` have.
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        match model_type {
            "mistral" => Some(Self::Llama),
            "gpt_neox" => Some(Self::GptNeoX),
            "gemma3_text" => Some(Self::Gemma3),
            "falcon_mamba" => Some(Self::Mamba),
            // A `gemma3` of Hugging Face is the model with vision.
            "gemma3" | "gptneox" => None,
            other => Self::from_name(other),
        }
    }

    /// True for the Mambas, which have no attention.
    pub(super) fn is_state_space(self) -> bool {
        matches!(self, Self::Mamba | Self::Mamba2)
    }

    /// True for the Gemmas, whose norms multiply by `1 + w`.
    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }

    fn top(self) -> Names {
        match self {
            Self::Gpt2 => GPT2_TOP,
            Self::Mamba | Self::Mamba2 => MAMBA_TOP,
            Self::GptNeoX => NEOX_TOP,
            _ => TOP,
        }
    }

    fn block(self) -> [Names; 3] {
        match self {
            Self::Llama | Self::Qwen2 | Self::Gemma | Self::Granite | Self::SmolLm3 => {
                [BLOCK, NORM_BEFORE_MLP, &[]]
            }
            Self::Qwen3 => [BLOCK, NORM_BEFORE_MLP, HEAD_NORMS],
            Self::Gemma2 => [BLOCK, NORMS_AROUND, &[]],
            Self::Gemma3 => [BLOCK, NORMS_AROUND, HEAD_NORMS],
            Self::Phi3 => [PHI3_BLOCK, &[], &[]],
            Self::Gpt2 => [GPT2_BLOCK, &[], &[]],
            Self::Mamba => [MAMBA_BLOCK, &[], &[]],
            Self::Mamba2 => [MAMBA2_BLOCK, &[], &[]],
            Self::GptNeoX => [NEOX_BLOCK, &[], &[]],
        }
    }

    fn layers(self) -> &'static str {
        match self {
            Self::Gpt2 => "transformer.h.",
            Self::Mamba | Self::Mamba2 => "backbone.layers.",
            Self::GptNeoX => "gpt_neox.layers.",
            _ => "model.layers.",
        }
    }

    /// Hugging Face's path of a module of the file, such as `model.layers.3.mlp.up_proj` of
    /// `blk.3.ffn_up`.
    pub fn hf_module(self, module: &str) -> Option<String> {
        let find = |names: Names, name: &str| {
            let found = names.iter().find(|(gguf, _)| *gguf == name);
            found.map(|(_, hf)| *hf)
        };
        let Some((number, name)) = layer_and_rest(module, "blk.") else {
            return find(self.top(), module).map(str::to_owned);
        };
        let found = self.block().iter().find_map(|names| find(names, name))?;
        Some(format!("{}{number}.{found}", self.layers()))
    }

    /// The file's name of a module of Hugging Face, such as `blk.3.ffn_up` of
    /// `model.layers.3.mlp.up_proj`.
    pub fn gguf_module(self, module: &str) -> Option<String> {
        let find = |names: Names, name: &str| {
            let found = names.iter().find(|(_, hf)| *hf == name);
            found.map(|(gguf, _)| *gguf)
        };
        let Some((number, name)) = layer_and_rest(module, self.layers()) else {
            return find(self.top(), module).map(str::to_owned);
        };
        let found = self.block().iter().find_map(|names| find(names, name))?;
        Some(format!("blk.{number}.{found}"))
    }
}

/// The number and the rest of `PREFIXnumber.rest`; the number only in the form that it is written.
pub(super) fn layer_and_rest<'a>(module: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = module.strip_prefix(prefix)?.split_once('.')?;
    let parsed: usize = number.parse().ok()?;
    (parsed.to_string() == number).then_some((parsed, rest))
}
