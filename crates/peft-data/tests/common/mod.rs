//! A tokenizer whose tokens are bytes, and a few special ones, so that tests can tell what is what.

use peft_data::TextTokenizer;
use serde_json::{Map, Value, json};
use std::path::Path;

/// GPT-2's alphabet for bytes.
fn letter(byte: u8) -> char {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match plain(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|b| !plain(*b)).count() as u32;
            char::from_u32(256 + before).unwrap()
        }
    }
}

/// Special tokens, from id 256 on: begin, end, and those of turns.
pub const SPECIALS: [&str; 5] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>"];
pub const BOS: u32 = 256;
pub const EOS: u32 = 257;

/// Every byte is a token; `bos` lets texts begin with `<s>`.
pub fn bytes(bos: bool) -> TextTokenizer {
    let vocab: Map<String, Value> = (0..=255u8)
        .map(|byte| (letter(byte).to_string(), json!(byte)))
        .collect();
    let added = SPECIALS.iter().enumerate().map(|(i, token)| {
        json!({"id": 256 + i, "content": token, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    });
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                            "use_regex": true});
    let sequence = json!({"Sequence": {"id": "A", "type_id": 0}});
    let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let processor = match bos {
        false => byte_level.clone(),
        true => {
            json!({"type": "TemplateProcessing", "single": [begin, sequence], "pair": [begin, sequence],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}})
        }
    };
    let json = json!({
        "version": "1.0", "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": byte_level, "post_processor": processor, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let Value::Object(config) = config else {
        unreachable!()
    };
    TextTokenizer::from_json(Path::new("bytes"), json.to_string().as_bytes(), config).unwrap()
}
