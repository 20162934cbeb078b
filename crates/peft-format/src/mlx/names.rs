//! What MLX-LM calls modules.

/// Starts of paths that differ: Hugging Face's and MLX-LM's. It has the llamas, the Gemmas, Phi-3 and Mamba
/// under their own names.
const STARTS: [(&str, &str); 3] = [
    ("gpt_neox.layers.", "model.h."),
    ("gpt_neox.", "model."),
    ("transformer.", "model."),
];

/// The head, and what it is called in MLX-LM's GPT-NeoX.
pub(super) const HEAD: &str = "lm_head";
pub(super) const NEOX_HEAD: &str = "model.embed_out";

/// Whether a module of Hugging Face's is one of a GPT-NeoX.
pub(super) fn is_neox(module: &str) -> bool {
    module.starts_with("gpt_neox.")
}

/// MLX-LM's path of a module of Hugging Face's model: `model.h.0.attn.c_attn` for
/// `transformer.h.0.attn.c_attn`. The head of a GPT-NeoX is not told from others.
pub fn mlx_module(module: &str) -> String {
    for (theirs, mlx) in STARTS {
        if let Some(rest) = module.strip_prefix(theirs) {
            return format!("{mlx}{rest}");
        }
    }
    module.to_owned()
}

/// Hugging Face's path of a module of MLX-LM: the inverse of [`mlx_module`].
pub fn peft_module(module: &str) -> String {
    let Some(rest) = module.strip_prefix("model.") else {
        return module.to_owned();
    };
    if let Some(block) = rest.strip_prefix("h.") {
        let part = block.split_once('.').map_or("", |(_, part)| part);
        let neox = part.starts_with("attention.") || part.starts_with("mlp.dense_");
        return match neox {
            true => format!("gpt_neox.layers.{block}"),
            false => format!("transformer.h.{block}"),
        };
    }
    if module == NEOX_HEAD {
        return HEAD.to_owned();
    }
    match rest {
        "embed_in" => format!("gpt_neox.{rest}"),
        "wte" | "wpe" => format!("transformer.{rest}"),
        _ => module.to_owned(),
    }
}

/// The number of the block that a module is in, and its path there: `3` and `mlp.up_proj` for
/// `model.layers.3.mlp.up_proj`. `None` for a module outside of blocks.
pub(super) fn in_block(module: &str) -> Option<(usize, &str)> {
    let mut rest = module;
    while let Some((part, after)) = rest.split_once('.') {
        if let Ok(number) = part.parse() {
            return Some((number, after));
        }
        rest = after;
    }
    None
}

/// Whether a module is a table of embeddings, whose factors PEFT names otherwise.
pub(super) fn is_embedding(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module);
    ["embed_tokens", "embeddings", "embed_in", "wte", "wpe"].contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_and_come_back() {
        for (theirs, mlx) in [
            ("model.layers.3.mlp.up_proj", "model.layers.3.mlp.up_proj"),
            ("transformer.h.10.attn.c_attn", "model.h.10.attn.c_attn"),
            ("transformer.h.0.mlp.c_fc", "model.h.0.mlp.c_fc"),
            (
                "gpt_neox.layers.1.attention.query_key_value",
                "model.h.1.attention.query_key_value",
            ),
            (
                "gpt_neox.layers.1.mlp.dense_4h_to_h",
                "model.h.1.mlp.dense_4h_to_h",
            ),
            (
                "backbone.layers.0.mixer.in_proj",
                "backbone.layers.0.mixer.in_proj",
            ),
            ("lm_head", "lm_head"),
            ("transformer.wte", "model.wte"),
            ("model.embed_tokens", "model.embed_tokens"),
        ] {
            assert_eq!(mlx_module(theirs), mlx);
            assert_eq!(peft_module(mlx), theirs);
        }
        assert_eq!(
            in_block("model.layers.3.mlp.up_proj"),
            Some((3, "mlp.up_proj"))
        );
        assert_eq!(in_block("lm_head"), None);
        assert_eq!(peft_module("model.embed_out"), "lm_head");
    }
}
