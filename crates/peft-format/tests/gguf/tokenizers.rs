//! Tokenizers out of metadata, loaded by Hugging Face's library.

use peft_format::gguf::{GgufFile, GgufValue, tokenizer};
use serde_json::json;
use tokenizers::Tokenizer;

use crate::build::{Metadata, write};

fn read(metadata: &Metadata) -> Result<tokenizer::GgufTokenizer, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = GgufFile::open(&write(dir.path(), metadata, &[])).unwrap();
    tokenizer::read(&file).map_err(|e| e.to_string())
}

/// The library's tokenizer of the JSON.
pub fn load(json: &serde_json::Value) -> Tokenizer {
    json.to_string().parse().unwrap()
}

fn tokens(metadata: &Metadata, text: &str) -> Vec<String> {
    let tokenizer = load(&read(metadata).unwrap().json);
    tokenizer.encode(text, true).unwrap().get_tokens().to_vec()
}

fn strings(texts: &[&str]) -> GgufValue {
    GgufValue::Strings(texts.iter().map(|text| text.to_string()).collect())
}

fn set(metadata: &mut Metadata, key: &'static str, value: GgufValue) {
    metadata.retain(|entry| entry.0 != key);
    metadata.push((key, value));
}

/// A byte-level BPE of a few letters: `a`, `b`, `1`, `2`, space, line end, and merges of them.
pub fn byte_level(pre: &'static str) -> Metadata {
    let tokens = [
        "<s>", "</s>", "a", "b", "1", "2", "\u{120}", "\u{10a}", "ab", "12", "\u{120}a", "<u>",
    ];
    vec![
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", pre.into()),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        (
            "tokenizer.ggml.token_type",
            GgufValue::I32s(vec![3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4]),
        ),
        (
            "tokenizer.ggml.merges",
            strings(&["a b", "1 2", "\u{120} a"]),
        ),
        ("tokenizer.ggml.bos_token_id", GgufValue::U32(0)),
        ("tokenizer.ggml.eos_token_id", GgufValue::U32(1)),
    ]
}

/// A SentencePiece BPE with bytes for the unknown.
pub fn sentencepiece() -> Metadata {
    let tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "<0xC3>",
        "<0xA9>",
        "\u{2581}",
        "a",
        "b",
        "ab",
        "\u{2581}ab",
        "aa",
        "<u>",
    ];
    let types = vec![2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 4];
    let scores = vec![
        0.0, 0.0, 0.0, 0.0, 0.0, -5.0, -6.0, -7.0, -3.0, -2.0, -1.0, 0.0,
    ];
    vec![
        ("tokenizer.ggml.model", "llama".into()),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        ("tokenizer.ggml.scores", GgufValue::F32s(scores)),
        ("tokenizer.ggml.token_type", GgufValue::I32s(types)),
    ]
}

#[test]
fn the_split_decides_what_may_merge() {
    // Each `pre` on digits and spaces.
    let cases: [(&str, &[&str]); 6] = [
        ("gpt-2", &["ab", "\u{120}", "\u{120}", "12"]),
        ("smollm", &["ab", "\u{120}", "\u{120}", "1", "2"]),
        ("starcoder", &["ab", "\u{120}", "\u{120}", "1", "2"]),
        ("qwen2", &["ab", "\u{120}", "\u{120}", "1", "2"]),
        ("llama-bpe", &["<s>", "ab", "\u{120}", "\u{120}", "12"]),
        ("tekken", &["<s>", "ab", "\u{120}", "\u{120}", "1", "2"]),
    ];
    for (pre, expected) in cases {
        assert_eq!(tokens(&byte_level(pre), "ab  12"), expected, "{pre}");
    }
    for pre in ["mpt", "olmo", "command-r", "refact", "dbrx", "gpt-4o"] {
        assert!(!tokens(&byte_level(pre), "ab a\n12").is_empty(), "{pre}");
    }
}

#[test]
fn an_unknown_split_or_model_is_refused() {
    let message = read(&byte_level("default")).unwrap_err();
    assert!(
        message.contains("tokenizer.ggml.pre") && message.contains("smollm"),
        "{message}"
    );
    let mut without = byte_level("gpt-2");
    without.retain(|entry| entry.0 != "tokenizer.ggml.pre");
    assert!(read(&without).unwrap_err().contains("found nothing"));
    let mut bert = byte_level("gpt-2");
    set(&mut bert, "tokenizer.ggml.model", "bert".into());
    assert!(read(&bert).unwrap_err().contains("`bert`"));
}

#[test]
fn added_tokens_are_found_first() {
    let metadata = byte_level("gpt-2");
    assert_eq!(tokens(&metadata, "a</s>b<u>"), ["a", "</s>", "b", "<u>"]);
    let tokenizer = load(&read(&metadata).unwrap().json);
    let encoded = tokenizer.encode("a</s>b<u>", false).unwrap();
    // Special tokens are left out of the text, user-defined ones are not.
    assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), "ab<u>");
}

#[test]
fn bos_and_eos_follow_the_flags() {
    let mut metadata = byte_level("llama-bpe");
    metadata.push(("tokenizer.ggml.add_eos_token", GgufValue::Bool(true)));
    assert_eq!(tokens(&metadata, "ab"), ["<s>", "ab", "</s>"]);
    metadata.push(("tokenizer.ggml.add_bos_token", GgufValue::Bool(false)));
    assert_eq!(tokens(&metadata, "ab"), ["ab", "</s>"]);
    let mut without = byte_level("llama-bpe");
    without.retain(|entry| entry.0 != "tokenizer.ggml.bos_token_id");
    assert!(read(&without).unwrap_err().contains("bos_token_id"));
    let mut beyond = byte_level("gpt-2");
    set(
        &mut beyond,
        "tokenizer.ggml.eos_token_id",
        GgufValue::U32(12),
    );
    assert!(read(&beyond).unwrap_err().contains("below 12"));
}

#[test]
fn sentencepiece_merges_by_score() {
    let metadata = sentencepiece();
    let read = read(&metadata).unwrap();
    assert_eq!(
        (read.bos, read.eos, read.unknown),
        (Some(1), Some(2), Some(0))
    );
    assert!(read.add_bos && !read.add_eos);
    assert_eq!(tokens(&metadata, "ab"), ["<s>", "\u{2581}ab"]);
    // `aa` scores above `ab`.
    assert_eq!(tokens(&metadata, "aab"), ["<s>", "\u{2581}", "aa", "b"]);
    assert_eq!(
        tokens(&metadata, "\u{e9}"),
        ["<s>", "\u{2581}", "<0xC3>", "<0xA9>"]
    );
    let tokenizer = load(&read.json);
    let ids = tokenizer.encode("ab a\u{e9} ab", true).unwrap();
    assert_eq!(
        tokenizer.decode(ids.get_ids(), true).unwrap(),
        "ab a\u{e9} ab"
    );
    let mut plain = metadata;
    plain.push(("tokenizer.ggml.add_space_prefix", GgufValue::Bool(false)));
    assert_eq!(tokens(&plain, "ab"), ["<s>", "ab"]);
}

#[test]
fn ends_and_templates() {
    let mut metadata = byte_level("gpt-2");
    let names = ["<s>", "</s>", "a", "b", "<|im_end|>", "<end_of_turn>"];
    set(&mut metadata, "tokenizer.ggml.tokens", strings(&names));
    let types = GgufValue::I32s(vec![3, 3, 1, 1, 3, 3]);
    set(&mut metadata, "tokenizer.ggml.token_type", types);
    set(&mut metadata, "tokenizer.ggml.merges", strings(&[]));
    metadata.push(("tokenizer.ggml.eot_token_id", GgufValue::U32(3)));
    metadata.push(("tokenizer.chat_template", "{{ messages }}".into()));
    metadata.push(("tokenizer.chat_template.tool_use", "{{ tools }}".into()));
    let read = read(&metadata).unwrap();
    assert_eq!(read.ends, [1, 3, 4, 5]);
    assert_eq!(read.vocabulary, 6);
    assert_eq!(read.chat_template.as_deref(), Some("{{ messages }}"));
    let named = ("tool_use".to_owned(), "{{ tools }}".to_owned());
    assert_eq!(read.named_templates, [named]);
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let refused = |metadata: Metadata, key: &'static str, value: GgufValue, words: &[&str]| {
        let mut metadata = metadata;
        set(&mut metadata, key, value);
        let message = read(&metadata).unwrap_err();
        for word in [&[key], words].concat() {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
    };
    let types = "tokenizer.ggml.token_type";
    refused(
        byte_level("gpt-2"),
        types,
        GgufValue::I32s(vec![1]),
        &["12 types"],
    );
    refused(
        byte_level("gpt-2"),
        types,
        GgufValue::I32s(vec![9; 12]),
        &["9 of token 0"],
    );
    let scores = "tokenizer.ggml.scores";
    refused(
        sentencepiece(),
        scores,
        GgufValue::F32s(vec![0.0]),
        &["12 numbers"],
    );
    refused(
        sentencepiece(),
        scores,
        GgufValue::F32s(vec![f32::NAN; 12]),
        &["12 numbers"],
    );
    let tokens = "tokenizer.ggml.tokens";
    refused(byte_level("gpt-2"), tokens, strings(&[]), &["2^32"]);
    refused(
        byte_level("gpt-2"),
        tokens,
        strings(&["a", "a"]),
        &["tokens 0 and 1"],
    );
    let merges = "tokenizer.ggml.merges";
    for bad in ["ab", "a ", "", "a 2", "x y"] {
        refused(byte_level("gpt-2"), merges, strings(&[bad]), &["merge 0"]);
    }
    let mut long = sentencepiece();
    let mut names: Vec<String> = (0..11).map(|i| format!("t{i}")).collect();
    names.push("x".repeat(600));
    set(&mut long, types, GgufValue::I32s(vec![1; 12]));
    refused(long, tokens, GgufValue::Strings(names), &["600 bytes"]);
}

#[test]
fn tokens_without_text_keep_their_ids() {
    let mut metadata = byte_level("gpt-2");
    set(
        &mut metadata,
        "tokenizer.ggml.tokens",
        strings(&["<s>", "</s>", "", "a"]),
    );
    set(&mut metadata, "tokenizer.ggml.merges", strings(&[]));
    set(
        &mut metadata,
        "tokenizer.ggml.token_type",
        GgufValue::I32s(vec![3, 3, 1, 1]),
    );
    let read = read(&metadata).unwrap();
    assert_eq!(read.json["model"]["vocab"]["[EMPTY_2]"], json!(2));
    assert_eq!(load(&read.json).encode("a", false).unwrap().get_ids(), [3]);
}
