//! Decoders of pre-norm blocks, of attention or of state spaces.

use super::{
    BlockDescription, Description, Flow, HeadKind, InputSlot, Part, Role, SlotPart, mamba,
};
use crate::{
    DecoderConfig, FeedForwardLayout, MambaConfig, NormKind, QkvLayout,
    work::{DecoderFlow, SpaceFlow},
};

/// Tables that are computed, and heads of other tasks.
const PASSED_OVER: &[&str] = &[
    "rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    "lm_head.",
    "embed_out.",
    "score.",
];

/// What a family calls its parts, within its block those of one.
struct Names {
    class: &'static str,
    /// Classes that do not begin so.
    classes: &'static [(&'static str, &'static str)],
    prefix: &'static str,
    embedding: &'static str,
    position: &'static str,
    block: &'static str,
    attention_norm: &'static str,
    qkv: [&'static str; 4],
    head_norms: [&'static str; 2],
    output: &'static str,
    post_attention_norm: &'static str,
    feed_forward_norm: &'static str,
    feed_forward: [&'static str; 4],
    post_feed_forward_norm: &'static str,
    norm: &'static str,
    aliases: &'static [(&'static str, &'static str)],
}

const LLAMA: Names = Names {
    class: "Llama",
    classes: &[],
    prefix: "model.",
    embedding: "embed_tokens",
    position: "",
    block: "layers.{}",
    attention_norm: "input_layernorm",
    qkv: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.qkv_proj",
    ],
    head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    output: "self_attn.o_proj",
    post_attention_norm: "",
    feed_forward_norm: "post_attention_layernorm",
    feed_forward: [
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "mlp.gate_up_proj",
    ],
    post_feed_forward_norm: "",
    norm: "norm",
    aliases: &[],
};

const GEMMA2: Names = Names {
    class: "Gemma2",
    post_attention_norm: "post_attention_layernorm",
    feed_forward_norm: "pre_feedforward_layernorm",
    post_feed_forward_norm: "post_feedforward_layernorm",
    ..LLAMA
};

const GPT2: Names = Names {
    class: "GPT2",
    classes: &[("ForCausalLM", "GPT2LMHeadModel")],
    prefix: "transformer.",
    embedding: "wte",
    position: "wpe",
    block: "h.{}",
    attention_norm: "ln_1",
    qkv: ["", "", "", "attn.c_attn"],
    output: "attn.c_proj",
    feed_forward_norm: "ln_2",
    feed_forward: ["", "mlp.c_fc", "mlp.c_proj", ""],
    norm: "ln_f",
    ..LLAMA
};

const GPT_NEOX: Names = Names {
    class: "GPTNeoX",
    prefix: "gpt_neox.",
    embedding: "embed_in",
    qkv: ["", "", "", "attention.query_key_value"],
    output: "attention.dense",
    feed_forward: ["", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", ""],
    norm: "final_layer_norm",
    aliases: &[("lm_head.weight", "embed_out.weight")],
    ..LLAMA
};

const JAMBA: Names = Names {
    class: "Jamba",
    feed_forward_norm: "pre_ff_layernorm",
    feed_forward: [
        "feed_forward.gate_proj",
        "feed_forward.up_proj",
        "feed_forward.down_proj",
        "",
    ],
    norm: "final_layernorm",
    ..LLAMA
};

const MODERNBERT: Names = Names {
    class: "ModernBert",
    attention_norm: "attn_norm",
    qkv: ["", "", "", "attn.Wqkv"],
    output: "attn.Wo",
    feed_forward_norm: "mlp_norm",
    feed_forward: ["", "", "mlp.Wo", "mlp.Wi"],
    ..LLAMA
};

fn names(model_type: &str) -> Names {
    let llama = |class| Names { class, ..LLAMA };
    match model_type {
        "mistral" => llama("Mistral"),
        "qwen2" => llama("Qwen2"),
        "qwen3" => llama("Qwen3"),
        "gemma" => llama("Gemma"),
        "gemma2" => GEMMA2,
        "gemma3_text" => Names {
            class: "Gemma3Text",
            classes: &[("ForCausalLM", "Gemma3ForCausalLM")],
            ..GEMMA2
        },
        "phi3" => llama("Phi3"),
        "gpt2" => GPT2,
        "gpt_neox" => GPT_NEOX,
        "granite" => llama("Granite"),
        "smollm3" => llama("SmolLM3"),
        "jamba" => JAMBA,
        "modernbert" => MODERNBERT,
        _ => LLAMA,
    }
}

pub fn describe(config: &DecoderConfig, head: HeadKind) -> Result<Description, String> {
    let names = names(&config.model_type);
    let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
    let name = |part: &str| format!("{}{part}", names.prefix);
    let bias = config.norm == NormKind::Layer;
    let table = |path: &str, part: &str, role, entries| {
        Part::table(path, &name(part), role, [entries, hidden])
    };
    let mut before = vec![table(
        "decoder.embedding",
        names.embedding,
        Role::Embedding,
        vocabulary,
    )];
    if config.learned_positions {
        let most = config.max_positions;
        before.push(table(
            "decoder.position",
            names.position,
            Role::Position,
            most,
        ));
    }
    let mut after = vec![Part::norm("decoder.norm", &name(names.norm), hidden, bias)];
    let mut head_modules: &[&str] = &[];
    match head {
        HeadKind::Sequence { outputs } => {
            let score = Part::linear("head", "score", Role::Head, [hidden, outputs], false);
            after.push(score.of_head());
            head_modules = &["score"];
        }
        HeadKind::Tokens { .. } => {
            return Err(format!(
                "`{}` is a decoder, whose tokens do not see what comes behind them: labels of words are for encoders here",
                config.model_type
            ));
        }
        HeadKind::Language if !config.tied => {
            let widths = [hidden, vocabulary];
            after.push(Part::linear("head", "lm_head", Role::Head, widths, false));
            head_modules = &["lm_head"];
        }
        HeadKind::Language => {}
    }
    Ok(Description {
        model_type: config.model_type.clone(),
        class: names.class.into(),
        classes: names.classes,
        prefix: names.prefix.into(),
        head,
        input: config.into(),
        hidden_size: hidden,
        before,
        blocks: blocks(config, "decoder.layers.{}"),
        depth: config.layers,
        prompt: InputSlot::new("decoder", names.prefix, hidden),
        after,
        embeddings: name(names.embedding),
        head_modules,
        aliases: names.aliases,
        passed_over: PASSED_OVER,
    })
}

/// The blocks, by their path within the model.
pub(super) fn blocks(config: &DecoderConfig, path: &str) -> Vec<BlockDescription> {
    let names = names(&config.model_type);
    let hidden = config.hidden_size;
    let own = |index: usize| {
        if let Some(space) = config.space_of(index) {
            let (parts, slots) = space_block(config, space, &names);
            let flow = SpaceFlow {
                space: mamba::selective(space, true),
                wide: config.intermediate_size,
            };
            return (parts, slots, Flow::Space(flow));
        }
        let flow = DecoderFlow {
            hidden,
            query: config.query_width(),
            key_value: config.kv_width(),
            heads: config.heads,
            wide: config.intermediate_size,
            gated: config.feed_forward != FeedForwardLayout::Plain,
            head_norms: config.head_norms,
            post_norms: config.post_norms,
            parallel: config.parallel,
            causal: config.causal,
            window: config.windows[index],
        };
        let slots = super::attention_slots(hidden, config.kv_width());
        (block(config, index, &names), slots, Flow::Decoder(flow))
    };
    let block = |index| {
        let (parts, slots, flow) = own(index);
        BlockDescription {
            index,
            path: path.into(),
            name: format!("{}{}", names.prefix, names.block),
            parts,
            slots,
            flow,
        }
    };
    (0..config.layers).map(block).collect()
}

/// Parts and slots of a block with a state space, in its order.
fn space_block(
    config: &DecoderConfig,
    space: &MambaConfig,
    names: &Names,
) -> (Vec<Part>, Vec<SlotPart>) {
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let [gate, up, down, _] = names.feed_forward;
    let mut parts = vec![
        Part::norm("attention_norm", names.attention_norm, hidden, false),
        Part::norm("feed_forward_norm", names.feed_forward_norm, hidden, false),
        Part::linear("gate", gate, Role::Gate, [hidden, wide], false),
        Part::linear("up", up, Role::Up, [hidden, wide], false),
        Part::linear("down", down, Role::Down, [wide, hidden], false),
    ];
    parts.extend(mamba::mixer(space, ["mamba.", "mamba."], true));
    let mut slots = mamba::slots(space, "mamba.");
    slots.extend(super::feed_forward_slots(hidden));
    (parts, slots)
}

/// Parts of a block, in its order.
fn block(config: &DecoderConfig, index: usize, names: &Names) -> Vec<Part> {
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let (query, key_value) = (config.query_width(), config.kv_width());
    let layer_norm = config.norm == NormKind::Layer;
    let norm = |path: &str, name: &str| Part::norm(path, name, hidden, layer_norm);
    let linear = |path: &str, name: &str, role, [inputs, outputs]: [usize; 2], bias| match config
        .transposed
    {
        true => Part::transposed(path, name, role, [inputs, outputs], bias),
        false => Part::linear(path, name, role, [inputs, outputs], bias),
    };
    let mut parts = Vec::new();
    if config.first_norm || index > 0 {
        parts.push(norm("attention_norm", names.attention_norm));
    }
    let [q, k, v, fused] = names.qkv;
    match config.qkv {
        QkvLayout::Separate => {
            let bias = config.qkv_bias;
            parts.push(linear("query", q, Role::Query, [hidden, query], bias));
            parts.push(linear("key", k, Role::Key, [hidden, key_value], bias));
            parts.push(linear("value", v, Role::Value, [hidden, key_value], bias));
        }
        QkvLayout::Fused | QkvLayout::FusedByHead => {
            let widths = [hidden, config.qkv_width()];
            let role = Role::QueryKeyValue;
            parts.push(linear(
                "query_key_value",
                fused,
                role,
                widths,
                config.qkv_bias,
            ));
        }
    }
    if config.head_norms {
        for (path, name) in ["query_norm", "key_norm"].into_iter().zip(names.head_norms) {
            parts.push(Part::norm(path, name, config.head_width, false));
        }
    }
    let widths = [query, hidden];
    parts.push(linear(
        "output",
        names.output,
        Role::Output,
        widths,
        config.output_bias,
    ));
    if config.post_norms {
        parts.push(norm("post_attention_norm", names.post_attention_norm));
    }
    parts.push(norm("feed_forward_norm", names.feed_forward_norm));
    let [gate, up, down, fused] = names.feed_forward;
    let bias = config.feed_forward_bias;
    if config.feed_forward == FeedForwardLayout::Gated {
        parts.push(linear("gate", gate, Role::Gate, [hidden, wide], bias));
    }
    parts.push(match config.feed_forward {
        FeedForwardLayout::GatedFused => {
            linear("gate_up", fused, Role::GateUp, [hidden, 2 * wide], bias)
        }
        _ => linear("up", up, Role::Up, [hidden, wide], bias),
    });
    parts.push(linear("down", down, Role::Down, [wide, hidden], bias));
    if config.post_norms {
        parts.push(norm("post_feed_forward_norm", names.post_feed_forward_norm));
    }
    parts
}
