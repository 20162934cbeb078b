//! Language models: steps of SmolLM2-135M, generation, and texts to tokens.

use serde_json::{Value, json};

use super::cases::{Case, Kind};

/// Bytes of the weights that a token needs, in f32 and in the blocks of the file: all of them once, for the head
/// is the embeddings' table.
const WEIGHTS_F32: u64 = 4 * 134_515_008;
const WEIGHTS_Q4_1: u64 = 98_362_432 - 1_785_664;

/// A whole training step of 8 rows of 256 tokens with LoRA of rank 8, on queries and values or on all linear
/// layers; `base` is f32 or q4_1.
pub fn step(adapter: &str, base: &str, recompute: bool) -> Value {
    json!({"case": "language_step", "batch": 8, "seq": 256, "mode": "train", "adapter": adapter, "rank": 8,
        "alpha": 16, "targets": ["q_proj", "v_proj"], "base": base, "recompute": recompute})
}

/// 128 tokens behind 4: reading the prompt counts little.
pub fn generate(base: &str) -> Value {
    json!({"case": "language_generate", "batch": 4, "seq": 128, "base": base, "label": format!("generates, {base}")})
}

fn read(weights: u64) -> Value {
    json!({"case": "stream_read", "weight_bytes": weights, "label": "reads the weights"})
}

/// Texts of Rotten Tomatoes to packed rows, or by Hugging Face's tokenizers to tokens alone.
fn tokenise() -> Value {
    json!({"case": "tokenise", "batch": 32, "max_length": 256})
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, kind, ours, base| {
        cases.push(Case {
            name: name.to_owned(),
            kind,
            ours,
            base,
            iterations: 1,
        });
    };
    for adapter in ["lora", "all-linear"] {
        let name = format!("smollm2-step-{adapter}");
        for (ours, theirs, words) in [
            (false, false, "vs-torch"),
            (true, false, "recompute-vs-torch"),
            (true, true, "recompute-vs-torch-checkpointing"),
        ] {
            add(
                &format!("{name}-{words}"),
                Kind::AgainstTorch,
                step(adapter, "f32", ours),
                Some(step(adapter, "f32", theirs)),
            );
        }
        let labelled = |base: &str| {
            let mut step = step(adapter, base, false);
            step["label"] = base.into();
            step
        };
        add(
            &format!("{name}-q4_1-vs-f32"),
            Kind::Beside,
            labelled("q4_1"),
            Some(labelled("f32")),
        );
        add(
            &format!("{name}-q4_1"),
            Kind::Alone,
            step(adapter, "q4_1", false),
            None,
        );
    }
    for (base, weights) in [("f32", WEIGHTS_F32), ("q4_1", WEIGHTS_Q4_1)] {
        add(
            &format!("smollm2-generate-{base}-vs-read"),
            Kind::Beside,
            generate(base),
            Some(read(weights)),
        );
    }
    let mut int8 = generate("q4_1");
    int8["compute"] = "int8".into();
    int8["label"] = "generates, q4_1, int8".into();
    add(
        "smollm2-generate-q4_1-int8-vs-read",
        Kind::Beside,
        int8,
        Some(read(WEIGHTS_Q4_1)),
    );
    add(
        "tokenise-vs-torch",
        Kind::AgainstTorch,
        tokenise(),
        Some(tokenise()),
    );
    cases
}
