//! Byte-level BPE, `tokenizer.ggml.model` = `gpt2`.

use serde_json::{Map, Value as Json, json};

use super::split::Split;
use super::vocabulary::Vocabulary;
use crate::error::{Result, shorten};
use crate::gguf::GgufFile;

const MERGES: &str = "tokenizer.ggml.merges";

/// The tokenizer without added tokens and template.
pub(super) fn json(
    file: &GgufFile,
    vocabulary: &Vocabulary,
    split: &Split,
) -> Result<Map<String, Json>> {
    let merges = merges(file, vocabulary)?;
    let normalizer = split.composed.then(|| json!({"type": "NFC"}));
    let model = model(vocabulary, merges, split.ignore_merges);
    Ok(Map::from_iter([
        ("version".to_owned(), json!("1.0")),
        ("truncation".to_owned(), Json::Null),
        ("padding".to_owned(), Json::Null),
        ("added_tokens".to_owned(), Json::Null),
        ("normalizer".to_owned(), normalizer.into()),
        ("pre_tokenizer".to_owned(), split.json()),
        ("post_processor".to_owned(), Json::Null),
        (
            "decoder".to_owned(),
            json!({
                "type": "ByteLevel",
                "add_prefix_space": true,
                "trim_offsets": true,
                "use_regex": true,
            }),
        ),
        ("model".to_owned(), model),
    ]))
}

fn model(vocabulary: &Vocabulary, merges: Json, ignore_merges: bool) -> Json {
    json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": ignore_merges,
        "vocab": vocab(vocabulary),
        "merges": merges,
    })
}

/// Every token with its id.
pub(super) fn vocab(vocabulary: &Vocabulary) -> Json {
    let tokens = vocabulary.tokens.iter().enumerate();
    Json::Object(
        tokens
            .map(|(id, token)| (token.clone(), id.into()))
            .collect(),
    )
}

/// The merges, each split at its first space behind its first character.
fn merges(file: &GgufFile, vocabulary: &Vocabulary) -> Result<Json> {
    let merges = file.required(MERGES, "an array of merges", file.strings(MERGES)?)?;
    let mut pairs = Vec::with_capacity(merges.len());
    for (number, bytes) in merges.iter().enumerate() {
        let text = std::str::from_utf8(bytes).ok();
        let pair = text.and_then(|text| {
            let first = text.chars().next()?.len_utf8();
            let space = first + text[first..].find(' ')?;
            Some((&text[..space], &text[space + 1..]))
        });
        let known = pair.filter(|(left, right)| {
            [*left, *right, &format!("{left}{right}")]
                .iter()
                .all(|token| vocabulary.find(token).is_some())
        });
        let Some((left, right)) = known else {
            let shown = shorten(&String::from_utf8_lossy(bytes));
            let expected = "two tokens with a space between them that together are a token";
            return Err(file.field(MERGES, expected, format!("`{shown}` as merge {number}")));
        };
        pairs.push(json!([left, right]));
    }
    Ok(pairs.into())
}
