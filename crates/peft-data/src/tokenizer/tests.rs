use super::*;
use serde_json::{Value, json};
use std::fs;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// `tests/fixtures/mint.py` wrote the expectations with Hugging Face's own tokenizers.
#[test]
fn ids_equal_hugging_faces() {
    let text = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for folder in ["wordpiece", "bpe"] {
        let tokenizer = TextTokenizer::from_dir(&fixtures().join(folder)).unwrap();
        for case in cases.iter().filter(|c| c["folder"] == folder) {
            let (text, pair) = (case["text"].as_str().unwrap(), case["pair"].as_str());
            let got = tokenizer
                .encode(text, pair, case["max_length"].as_u64().unwrap() as usize)
                .unwrap();
            assert_eq!(got.ids, numbers(&case["ids"]), "{case}");
            assert_eq!(got.type_ids, numbers(&case["type_ids"]), "{case}");
            assert_eq!(json!(got.truncated_tokens), case["truncated"], "{case}");
        }
    }
}

/// `tests/fixtures/mint_words.py` wrote the expectations with transformers.
#[test]
fn words_have_the_tokens_that_hugging_face_gives_them() {
    let text = fs::read_to_string(fixtures().join("words.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let folder = fixtures().join(case["folder"].as_str().unwrap());
        let tokenizer = TextTokenizer::from_dir(&folder).unwrap();
        let words: Vec<String> = serde_json::from_value(case["words"].clone()).unwrap();
        let max_length = case["max_length"].as_u64().unwrap() as usize;
        let rows = tokenizer.encode_words(&[words], max_length).unwrap();
        let (encoded, begins) = &rows[0];
        assert_eq!(encoded.ids, numbers(&case["ids"]), "{case}");
        let ids: Vec<Option<u32>> = serde_json::from_value(case["word_ids"].clone()).unwrap();
        let first = |at: usize| ids[at].filter(|_| at == 0 || ids[at - 1] != ids[at]);
        let wanted = (0..ids.len()).map(|at| first(at).unwrap_or(crate::Labels::IGNORED));
        assert_eq!(*begins, wanted.collect::<Vec<_>>(), "{case}");
    }
}

/// `xtask/python/mint_sentencepiece.py` wrote the expectations with transformers.
#[test]
fn sentencepiece_models_are_read_as_transformers_reads_them() {
    let fixtures = fixtures().join("spm");
    let text = fs::read_to_string(fixtures.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 150);
    let mut known: std::collections::BTreeMap<String, TextTokenizer> = Default::default();
    for case in cases {
        let name = case["folder"].as_str().unwrap();
        let tokenizer = known
            .entry(name.to_owned())
            .or_insert_with(|| TextTokenizer::from_dir(&fixtures.join(name)).unwrap());
        let (text, pair) = (case["text"].as_str().unwrap(), case["pair"].as_str());
        let got = tokenizer.encode(text, pair, 1000).unwrap();
        assert_eq!(got.ids, numbers(&case["ids"]), "{case}");
        assert_eq!(got.type_ids, numbers(&case["type_ids"]), "{case}");
        let decoded = tokenizer.inner.decode(&got.ids, true).unwrap();
        assert_eq!(json!(decoded), case["decoded"], "{case}");
    }
    assert_eq!(known.len(), 9);
    // Without a class, that of the model.
    for name in known.keys().filter(|name| {
        !name.contains("legacy") && !name.contains("cased") && !name.contains("lower")
    }) {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "tokenizer.model",
            "spiece.model",
            "sentencepiece.bpe.model",
            "spm.model",
            "config.json",
        ] {
            let from = fixtures.join(name).join(file);
            if from.is_file() {
                fs::copy(from, dir.path().join(file)).unwrap();
            }
        }
        let found = TextTokenizer::from_dir(dir.path()).unwrap();
        let text = "The cat, naïve 1,000";
        let ids = |tokenizer: &TextTokenizer| tokenizer.encode(text, None, 1000).unwrap().ids;
        assert_eq!(ids(&found), ids(&known[name]), "{name}");
    }
}

#[test]
fn what_is_no_sentencepiece_model_is_refused() {
    let llama = r#"{"tokenizer_class": "LlamaTokenizer"}"#;
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    for (class, bytes, wanted) in [
        (llama, "", "no pieces"),
        (llama, "\u{8}", "does not end"),
        (llama, pointer, "git lfs pull"),
        (r#"{"tokenizer_class": "T5Tokenizer"}"#, "", "T5Tokenizer"),
    ] {
        let error = error(&[("tokenizer_config.json", class), ("tokenizer.model", bytes)]);
        assert!(error.contains(wanted), "{error}");
    }
    let albert = fixtures().join("spm/albert/spiece.model");
    let dir = folder(&[("tokenizer_config.json", llama)]);
    fs::copy(albert, dir.path().join("tokenizer.model")).unwrap();
    let error = TextTokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("LlamaTokenizer") && error.contains("Unigram"),
        "{error}"
    );
}

#[test]
fn many_equals_one_by_one() {
    let tokenizer = TextTokenizer::from_dir(&fixtures().join("bpe")).unwrap();
    let texts: Vec<_> = (0..200).map(|i| (format!("text {i}"), None)).collect();
    let many = tokenizer.encode_many(&texts, 16).unwrap();
    for (text, got) in texts.iter().zip(many) {
        assert_eq!(tokenizer.encode(&text.0, None, 16).unwrap(), got);
    }
    assert_eq!(
        (tokenizer.pad_id(), tokenizer.special_tokens(true)),
        (Some(1), 4)
    );
    let error = tokenizer.encode("a", None, 2).unwrap_err().to_string();
    assert!(error.contains("at least 3 is needed"), "{error}");
}

/// A folder with the files given.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn error(files: &[(&str, &str)]) -> String {
    TextTokenizer::from_dir(folder(files).path())
        .unwrap_err()
        .to_string()
}

const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nabc\nABC\né\ne\n";

#[test]
fn settings_of_bert_are_followed() {
    let ids = |config: &str, text: &str| {
        let dir = folder(&[("vocab.txt", VOCAB), ("tokenizer_config.json", config)]);
        TextTokenizer::from_dir(dir.path())
            .unwrap()
            .encode(text, None, 9)
            .unwrap()
            .ids
    };
    assert_eq!(ids("{}", "ABC é"), [2, 4, 7, 3]);
    assert_eq!(ids(r#"{"do_lower_case": false}"#, "ABC é"), [2, 5, 6, 3]);
    assert_eq!(ids(r#"{"strip_accents": false}"#, "ABC é"), [2, 4, 6, 3]);
    assert_eq!(
        ids(r#"{"truncation_side": "left"}"#, "abc e e e e e e e"),
        [2, 7, 7, 7, 7, 7, 7, 7, 3]
    );
    let added = r#"{"added_tokens_decoder": {"8": {"content": "[NEW]", "special": true,
        "normalized": false}, "2": {"content": "[CLS]", "special": true, "normalized": false}}}"#;
    assert_eq!(ids(added, "abc[NEW]e"), [2, 4, 8, 7, 3]);
}

#[test]
fn padding_and_truncation_of_the_file_are_switched_off() {
    let file = json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 1, "pad_type_id": 0, "pad_token": "P"},
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"U": 0, "P": 1, "a": 2}, "unk_token": "U"},
    });
    let dir = folder(&[("tokenizer.json", &file.to_string())]);
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    let got = tokenizer.encode("a b a", Some("a"), 16).unwrap();
    assert_eq!(
        (got.ids, got.type_ids),
        (vec![2, 0, 2, 2], vec![0, 0, 0, 1])
    );
    assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (Some(1), 3));
}

#[test]
fn broken_folders_are_explained() {
    let none = error(&[("vocab.json", "{}")]);
    assert!(
        none.contains("tokenizer.json, then vocab.txt, then vocab.json"),
        "{none}"
    );
    assert!(error(&[("tokenizer.json", "{\"a\": 1}")]).contains("not a valid tokenizer"));
    assert!(error(&[("vocab.txt", "a\nb\n")]).contains("lacks the unk_token"));
    let config = (
        "tokenizer_config.json",
        r#"{"tokenizer_class": "MPNetTokenizer"}"#,
    );
    assert!(error(&[("vocab.txt", VOCAB), config]).contains("belong to a MPNetTokenizer"));
    let vocab = ("vocab.json", r#"{"<s>": 0, "</s>": 1, "a": 2}"#);
    assert!(error(&[vocab, ("merges.txt", "#version\na b c\n")]).contains("line 2"));
    assert!(error(&[vocab, ("merges.txt", "a z\n")]).contains("not a valid tokenizer"));
    let added = ("added_tokens.json", r#"{"x": 99}"#);
    assert!(error(&[("vocab.txt", VOCAB), added]).contains("should have id 99"));
    assert!(
        error(&[("vocab.txt", VOCAB), ("tokenizer_config.json", "[]")]).contains("JSON object")
    );
}

/// The folder of a tokenizer whose `tokenizer.json` says nothing but what `vocab.txt` and defaults come to.
fn lowering(config: &str, others: &[(&str, &str)]) -> TextTokenizer {
    let vocab = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "film",
        "Film",
        "\u{00e9}t\u{00e9}",
        "ete",
        "good",
    ];
    let vocab: serde_json::Map<String, Value> = vocab
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect();
    let whole = json!({
        "version": "1.0", "added_tokens": [],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab },
    });
    let whole = whole.to_string();
    let mut files = vec![
        ("tokenizer.json", whole.as_str()),
        ("tokenizer_config.json", config),
    ];
    files.extend_from_slice(others);
    TextTokenizer::from_dir(folder(&files).path()).unwrap()
}

fn tokens(tokenizer: &TextTokenizer, text: &str) -> String {
    let ids = tokenizer.encode(text, None, 32).unwrap().ids;
    let inner = &ids[1..ids.len() - 1];
    let tokens = inner.iter().map(|id| tokenizer.token(*id));
    tokens.collect::<Vec<_>>().join(" ")
}

#[test]
fn settings_of_bert_overrule_tokenizer_json() {
    for (config, want) in [
        (
            r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": true}"#,
            "film ete",
        ),
        (
            r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": false}"#,
            "Film \u{00e9}t\u{00e9}",
        ),
        (r#"{"do_lower_case": false}"#, "Film \u{00e9}t\u{00e9}"),
        (
            r#"{"tokenizer_class": "DistilBertTokenizerFast", "strip_accents": false}"#,
            "film \u{00e9}t\u{00e9}",
        ),
        // Another class takes the file as it is.
        (
            r#"{"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false}"#,
            "film ete",
        ),
        ("{}", "film ete"),
    ] {
        let text = "Film \u{00c9}t\u{00e9}".replace('\u{00c9}', "\u{00e9}");
        assert_eq!(tokens(&lowering(config, &[]), &text), want, "{config}");
    }
}

#[test]
fn added_tokens_beside_tokenizer_json_are_found_in_texts() {
    assert_eq!(
        tokens(&lowering("{}", &[]), "film<gap>good"),
        "film [UNK] [UNK] [UNK] good"
    );
    let old = lowering("{}", &[("added_tokens.json", r#"{"<gap>": 9}"#)]);
    assert_eq!(tokens(&old, "film<gap>good"), "film <gap> good");
    assert_eq!((old.token_id("<gap>"), old.vocab_size()), (Some(9), 10));
    let new =
        r#"{"added_tokens_decoder": {"9": {"content": "<gap>", "lstrip": true, "special": true}}}"#;
    assert_eq!(
        tokens(&lowering(new, &[]), "film <gap> good"),
        "film <gap> good"
    );
    // A special token of the vocabulary is one in texts, too.
    let map = r#"{"sep_token": "[SEP]", "additional_special_tokens": ["Film"]}"#;
    let special = lowering("{}", &[("special_tokens_map.json", map)]);
    assert_eq!(tokens(&special, "good[SEP]Film"), "good [SEP] Film");
}

#[test]
fn lengths_and_pointers_beside_the_tokenizer() {
    assert_eq!(
        lowering(r#"{"model_max_length": 12}"#, &[]).max_length(),
        Some(12)
    );
    let none = r#"{"model_max_length": 1000000000000000019884624838656}"#;
    assert_eq!(lowering(none, &[]).max_length(), None);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in [
        "tokenizer.json",
        "vocab.txt",
        "tokenizer_config.json",
        "added_tokens.json",
    ] {
        let told = error(&[("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n"), (name, pointer)]);
        assert!(
            told.contains("Git LFS pointer") && told.contains(name),
            "{told}"
        );
    }
}

#[test]
fn llamas_classes_put_around_a_text_what_the_settings_say() {
    let vocab = json!({ "<unk>": 0, "<s>": 1, "</s>": 2, "a": 3 });
    let whole = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [] },
    })
    .to_string();
    for (settings, want) in [
        (
            r#""add_bos_token": true, "add_eos_token": true"#,
            vec![1, 3, 2],
        ),
        (r#""add_bos_token": false"#, vec![3]),
        (r#""add_eos_token": true"#, vec![1, 3, 2]),
        (r#""legacy": true"#, vec![3]),
    ] {
        let config = format!(
            r#"{{"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", {settings}}}"#
        );
        let files = [
            ("tokenizer.json", whole.as_str()),
            ("tokenizer_config.json", &config),
        ];
        let tokenizer = TextTokenizer::from_dir(folder(&files).path()).unwrap();
        assert_eq!(
            tokenizer.encode("a", None, 8).unwrap().ids,
            want,
            "{settings}"
        );
    }
}
