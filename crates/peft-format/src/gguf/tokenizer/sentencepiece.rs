//! SentencePiece BPE, `tokenizer.ggml.model` = `llama`.

use serde_json::{Map, Value as Json, json};

use super::bpe::vocab;
use super::vocabulary::{TokenType, Vocabulary};
use crate::error::{Result, shorten};
use crate::gguf::GgufFile;

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// Bytes of the longest token that others may merge into. SentencePiece's own limit is 16
/// characters; finding merges takes the square of this.
const LONGEST: usize = 512;

/// The tokenizer without added tokens and template.
pub(super) fn json(
    file: &GgufFile,
    vocabulary: &Vocabulary,
    unknown: Option<u32>,
) -> Result<Map<String, Json>> {
    let scores = vocabulary.scores(file)?;
    let prefix = file
        .boolean("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let unknown = unknown.and_then(|id| vocabulary.tokens.get(id as usize));
    let mut normalizers = Vec::new();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.push(json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": true,
        "ignore_merges": false,
        "vocab": vocab(vocabulary),
        "merges": merges(file, vocabulary, &scores)?,
    });
    Ok(Map::from_iter([
        ("version".to_owned(), json!("1.0")),
        ("truncation".to_owned(), Json::Null),
        ("padding".to_owned(), Json::Null),
        ("added_tokens".to_owned(), Json::Null),
        (
            "normalizer".to_owned(),
            json!({"type": "Sequence", "normalizers": normalizers}),
        ),
        ("pre_tokenizer".to_owned(), Json::Null),
        ("post_processor".to_owned(), Json::Null),
        (
            "decoder".to_owned(),
            json!({"type": "Sequence", "decoders": decoders}),
        ),
        ("model".to_owned(), model),
    ]))
}

/// Merges in the order in which SentencePiece prefers them: every way to split a token into two
/// tokens, by the score of the whole.
///
/// Among splits of one token those with the shorter left part go first: where two of them overlap in
/// a text, as `a|aa` and `aa|a` do, that is the one further left.
fn merges(file: &GgufFile, vocabulary: &Vocabulary, scores: &[f32]) -> Result<Json> {
    // SentencePiece merges into none of the others.
    let made = |kind: &TokenType| {
        matches!(
            kind,
            TokenType::Normal | TokenType::UserDefined | TokenType::Unused
        )
    };
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|&id| made(&vocabulary.types[id]))
        .collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut merges = Vec::new();
    for id in order {
        let token = &vocabulary.tokens[id];
        if token.len() > LONGEST {
            // Found in the text as a whole, if at all.
            if vocabulary.types[id] == TokenType::UserDefined {
                continue;
            }
            let key = "tokenizer.ggml.tokens";
            let expected = format!("tokens of at most {LONGEST} bytes");
            let found = format!("{} bytes, `{}`", token.len(), shorten(token));
            return Err(file.field(key, expected, found));
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if vocabulary.find(left).is_some() && vocabulary.find(right).is_some() {
                merges.push(json!([left, right]));
            }
        }
    }
    Ok(merges.into())
}
