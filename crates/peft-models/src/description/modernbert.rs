//! ModernBERT: an encoder of a decoder's blocks.

use super::{Description, HeadKind, InputSlot, Part, Role, decoder, encoder};
use crate::{DecoderConfig, EncoderConfig, NormKind};

const PREFIX: &str = "model.";

pub fn describe(config: &EncoderConfig, blocks: &DecoderConfig, head: HeadKind) -> Description {
    let (hidden, bias) = (config.hidden_size, blocks.norm == NormKind::Layer);
    let name = |part: &str| format!("{PREFIX}{part}");
    let table = Part::table(
        "encoder.word",
        &name("embeddings.tok_embeddings"),
        Role::Embedding,
        [config.vocab_size, hidden],
    );
    let norm = |path: &str, name: &str| Part::norm(path, name, hidden, bias);
    let mut after = vec![norm("encoder.norm", &name("final_norm"))];
    if let HeadKind::Sequence { outputs } | HeadKind::Tokens { outputs } = head {
        let (square, scores) = ([hidden, hidden], [hidden, outputs]);
        let dense = Part::linear(
            "dense",
            "head.dense",
            Role::Pooler,
            square,
            config.head_bias,
        );
        let classifier = Part::linear("classifier", "classifier", Role::Head, scores, true);
        after.extend([
            dense.of_head(),
            norm("norm", "head.norm").of_head(),
            classifier.of_head(),
        ]);
    }
    Description {
        model_type: config.model_type.clone(),
        class: "ModernBert".into(),
        classes: &[],
        prefix: PREFIX.into(),
        head,
        input: config.into(),
        hidden_size: hidden,
        before: vec![
            table,
            norm("encoder.embedding_norm", &name("embeddings.norm")),
        ],
        blocks: decoder::blocks(blocks, "encoder.layers.{}"),
        depth: config.layers,
        prompt: InputSlot::new("encoder", PREFIX, hidden),
        after,
        embeddings: name("embeddings"),
        head_modules: &["classifier"],
        aliases: &[],
        passed_over: encoder::PASSED_OVER,
    }
}
