//! Encoders of the BERT family.

use super::{BlockDescription, Description, Flow, HeadKind, InputSlot, Part, Role, modernbert};
use crate::{EncoderConfig, Family, RelativePositions, work::EncoderFlow};

/// Tensors that serve no classification model: other heads, tables that are computed, counters.
pub(super) const PASSED_OVER: &[&str] = &[
    "position_ids",
    "cls.",
    "lm_head.",
    "predictions.",
    "sop_classifier.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "mask_predictions.",
    "lm_predictions.",
    "decoder.",
    "vocab_",
];

/// The first releases' names of the norms.
const ALIASES: &[(&str, &str)] = &[
    ("LayerNorm.weight", "LayerNorm.gamma"),
    ("LayerNorm.bias", "LayerNorm.beta"),
];

/// What a family calls its parts, within its block those of one.
struct Names {
    prefix: &'static str,
    projection: Option<&'static str>,
    /// Table and norm of the distances of tokens.
    relative: [&'static str; 2],
    block: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
    dense: &'static str,
    classifier: &'static str,
    head_modules: &'static [&'static str],
}

const BERT: Names = Names {
    prefix: "bert.",
    projection: None,
    relative: ["", ""],
    block: "bert.encoder.layer.{}",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
    dense: "bert.pooler.dense",
    classifier: "classifier",
    head_modules: &["classifier"],
};

const ROBERTA: Names = Names {
    prefix: "roberta.",
    block: "roberta.encoder.layer.{}",
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

const DISTILBERT: Names = Names {
    prefix: "distilbert.",
    block: "distilbert.transformer.layer.{}",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    norm: "output_layer_norm",
    dense: "pre_classifier",
    head_modules: &["classifier", "pre_classifier"],
    ..BERT
};

const ALBERT: Names = Names {
    prefix: "albert.",
    projection: Some("albert.encoder.embedding_hidden_mapping_in"),
    block: "albert.encoder.albert_layer_groups.{}.albert_layers.0",
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    output: "attention.dense",
    attention_norm: "attention.LayerNorm",
    up: "ffn",
    down: "ffn_output",
    norm: "full_layer_layer_norm",
    dense: "albert.pooler",
    ..BERT
};

const ELECTRA: Names = Names {
    prefix: "electra.",
    projection: Some("electra.embeddings_project"),
    block: "electra.encoder.layer.{}",
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

const MPNET: Names = Names {
    prefix: "mpnet.",
    relative: ["mpnet.encoder.relative_attention_bias", ""],
    block: "mpnet.encoder.layer.{}",
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

const DEBERTA_V2: Names = Names {
    prefix: "deberta.",
    relative: [
        "deberta.encoder.rel_embeddings",
        "deberta.encoder.LayerNorm",
    ],
    block: "deberta.encoder.layer.{}",
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    dense: "pooler.dense",
    ..BERT
};

pub fn describe(config: &EncoderConfig, head: HeadKind) -> Result<Description, String> {
    let (HeadKind::Sequence { outputs } | HeadKind::Tokens { outputs }) = head else {
        return Err(format!(
            "`{}` is an encoder, which has no head that predicts the next token",
            config.model_type
        ));
    };
    if let Some(blocks) = &config.blocks {
        return Ok(modernbert::describe(config, blocks, head));
    }
    let (names, class) = match (config.family, config.model_type.as_str()) {
        (Family::Bert, _) => (&BERT, "Bert"),
        (Family::Roberta, "xlm-roberta") => (&ROBERTA, "XLMRoberta"),
        (Family::Roberta, "camembert") => (&ROBERTA, "Camembert"),
        (Family::Roberta, _) => (&ROBERTA, "Roberta"),
        (Family::DistilBert, _) => (&DISTILBERT, "DistilBert"),
        (Family::Albert, _) => (&ALBERT, "Albert"),
        (Family::Electra, _) => (&ELECTRA, "Electra"),
        (Family::MpNet, _) => (&MPNET, "MPNet"),
        (Family::DebertaV2, _) => (&DEBERTA_V2, "DebertaV2"),
        (Family::ModernBert, _) => unreachable!("described above, by its blocks"),
    };
    let (hidden, wide, embedding) = (
        config.hidden_size,
        config.intermediate_size,
        config.embedding_size,
    );
    let embeddings = format!("{}embeddings", names.prefix);
    let table = |path: &str, name: &str, role, entries| {
        Part::table(
            path,
            &format!("{embeddings}.{name}"),
            role,
            [entries, embedding],
        )
    };
    let mut before = vec![table(
        "encoder.word",
        "word_embeddings",
        Role::Embedding,
        config.vocab_size,
    )];
    if config.learned_positions {
        let most = config.max_positions;
        before.push(table(
            "encoder.position",
            "position_embeddings",
            Role::Position,
            most,
        ));
    }
    if config.type_vocab_size > 0 {
        let types = config.type_vocab_size;
        before.push(table(
            "encoder.token_type",
            "token_type_embeddings",
            Role::Segment,
            types,
        ));
    }
    let norm = format!("{embeddings}.LayerNorm");
    before.push(Part::norm("encoder.embedding_norm", &norm, embedding, true));
    // ELECTRA has one only where the widths differ, ALBERT always.
    let projects = config.family == Family::Albert || embedding != hidden;
    if let Some(name) = names.projection.filter(|_| projects) {
        let widths = [embedding, hidden];
        before.push(Part::linear(
            "encoder.projection",
            name,
            Role::Projection,
            widths,
            true,
        ));
    }
    if let Some(relative) = config.relative {
        let (width, normed) = match relative {
            RelativePositions::Bias => (config.heads, false),
            RelativePositions::Disentangled(own) => (hidden, own.normed),
        };
        let [table, norm] = names.relative;
        let shape = [relative.entries(), width];
        before.push(Part::table(
            "encoder.relative.table",
            table,
            Role::Position,
            shape,
        ));
        if normed {
            before.push(Part::norm("encoder.relative.norm", norm, width, true));
        }
    }
    let linear =
        |path: &str, name: &str, role, widths| Part::linear(path, name, role, widths, true);
    let square = [hidden, hidden];
    let scores = |name: &str| linear("classifier", name, Role::Head, [hidden, outputs]).of_head();
    let block = |index| BlockDescription {
        index,
        path: "encoder.layers.{}".into(),
        name: names.block.into(),
        parts: vec![
            linear("query", names.query, Role::Query, square),
            linear("key", names.key, Role::Key, square),
            linear("value", names.value, Role::Value, square),
            linear("output", names.output, Role::Output, square),
            Part::norm("attention_norm", names.attention_norm, hidden, true),
            linear("up", names.up, Role::Up, [hidden, wide]),
            linear("down", names.down, Role::Down, [wide, hidden]),
            Part::norm("norm", names.norm, hidden, true),
        ],
        slots: super::attention_slots(hidden, hidden),
        flow: Flow::Encoder(EncoderFlow {
            hidden,
            wide,
            heads: config.heads,
        }),
    };
    Ok(Description {
        model_type: config.model_type.clone(),
        class: class.into(),
        classes: &[],
        prefix: names.prefix.into(),
        head,
        input: config.into(),
        hidden_size: hidden,
        before,
        blocks: (0..config.distinct_layers).map(block).collect(),
        depth: config.layers,
        prompt: InputSlot::new("encoder", names.prefix, embedding),
        after: match head {
            HeadKind::Tokens { .. } => vec![scores("classifier")],
            _ => vec![
                linear("dense", names.dense, Role::Pooler, square).of_head(),
                scores(names.classifier),
            ],
        },
        embeddings,
        head_modules: match head {
            HeadKind::Tokens { .. } => BERT.head_modules,
            _ => names.head_modules,
        },
        aliases: ALIASES,
        passed_over: PASSED_OVER,
    })
}
