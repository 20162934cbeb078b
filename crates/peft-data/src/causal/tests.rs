use super::encode::{Example, encode};
use crate::tokenizer::TextTokenizer;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::path::Path;

/// As Llama 2's: SentencePiece without a pre-tokenizer, a space before every text, unknown bytes as
/// tokens of their own.
fn sentencepiece() -> TextTokenizer {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "\u{2581}",
        "a",
        "b",
        "c",
        "\u{2581}a",
        "ab",
        "\u{2581}ab",
    ];
    let all = pieces.into_iter().map(str::to_owned).chain(bytes);
    let vocab: Map<String, Value> = all.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let special = |id: u32, token: &str| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let json = json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "vocab": vocab, "byte_fallback": true, "unk_token": "<unk>",
                  "fuse_unk": true, "merges": ["\u{2581} a", "a b", "\u{2581} ab", "\u{2581}a b"]},
    });
    let Value::Object(config) = json!({"bos_token": "<s>", "eos_token": "</s>"}) else {
        unreachable!()
    };
    TextTokenizer::from_json(Path::new("sp"), json.to_string().as_bytes(), config).unwrap()
}

fn byte_level() -> TextTokenizer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bpe");
    TextTokenizer::from_dir(&dir).unwrap()
}

fn ids(example: &Example, tokenizer: &TextTokenizer) -> Vec<u32> {
    encode(example, tokenizer, None, "f").unwrap().ids
}

proptest! {
    /// A document in parts has the tokens of the whole.
    #[test]
    fn parts_of_a_document_join(
        lines in prop::collection::vec("([abc]|the|film|!|12)( ?[abc]| good|  1|\\.|é){0,4}", 2..8)
    ) {
        for tokenizer in [sentencepiece(), byte_level()] {
            let whole = Example::text(lines.join("\n"), (1, 1), false);
            // The suffix that RoBERTa's adds belongs to whole texts only.
            let mut want = ids(&whole, &tokenizer);
            if tokenizer.special_tokens(false) == 2 {
                want.pop();
            }
            let mut joined = Vec::new();
            for (number, line) in lines.iter().enumerate() {
                let ends = number + 1 == lines.len();
                let part = Example {
                    begins: number == 0,
                    ends,
                    ..Example::text(format!("{line}{}", if ends { "" } else { "\n" }), (1, 1), false)
                };
                joined.extend(ids(&part, &tokenizer));
            }
            prop_assert_eq!(&joined, &want);
        }
    }

    /// Every byte of an answer is in a token that is predicted, and no token outside is.
    #[test]
    fn flags_are_those_of_the_spans(
        pieces in prop::collection::vec(("[ab é\n]{0,5}", "[abc ]{1,5}"), 1..4)
    ) {
        for tokenizer in [sentencepiece(), byte_level()] {
            let (mut text, mut spans) = (String::new(), Vec::new());
            for (context, answer) in &pieces {
                text.push_str(context);
                spans.push(text.len()..text.len() + answer.len());
                text.push_str(answer);
            }
            text.push('.');
            let example = Example {
                spans: Some(spans.clone()),
                ..Example::text(text.clone(), (1, 1), true)
            };
            let encoded = encode(&example, &tokenizer, None, "f").unwrap();
            let places = tokenizer.encode_spanned(&text, true).unwrap().places;
            for (flag, place) in encoded.flags().into_iter().zip(&places) {
                let overlaps = place.as_ref().is_some_and(|p| {
                    spans.iter().any(|span| p.start < span.end && span.start < p.end)
                });
                prop_assert_eq!(flag, overlaps, "{:?} {:?} {:?}", text, spans, place);
            }
        }
    }
}
