use super::classes::{Class, Classes};
use super::words::{LLAMA3, QWEN2};
use super::*;
use crate::TextTokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::SysRegex;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

const CORPUS: &str = "It's what they'll say: we've 1234567 reasons, don't we? He'd say I'M sure.\n\n\
    Das Mädchen läuft über die Brücke – schön, naïve café, Ångström.\r\n\t\tif (x <= 10) { y += 0x1F; }\n\
    Это не то, что мы думали; 東京 は 日本の首都です。 ١٢٣ ४५६ the the   the    end...   \n";

fn bytes(regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
}

fn sequence(first: Value, last: Value) -> Value {
    json!({"type": "Sequence", "pretokenizers": [first, last]})
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn digits() -> Value {
    json!({"type": "Digits", "individual_digits": true})
}

fn kinds() -> [Value; 4] {
    [
        bytes(true),
        sequence(digits(), bytes(true)),
        sequence(split(LLAMA3), bytes(false)),
        sequence(split(QWEN2), bytes(false)),
    ]
}

/// A tokenizer with merges of the corpus, as JSON to change.
fn trained(pre_tokenizer: Value) -> Value {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(420)
        .initial_alphabet(alphabet);
    let mut trainer = TrainerWrapper::from(trainer.show_progress(false).build());
    tokenizer.train(&mut trainer, [CORPUS].into_iter()).unwrap();
    let mut json = serde_json::to_value(&tokenizer).unwrap();
    json["pre_tokenizer"] = pre_tokenizer;
    json
}

fn added(id: u32, content: &str, flags: &[&str]) -> Value {
    let flag = |name: &str| flags.contains(&name);
    json!({"id": id, "content": content, "special": flag("special"), "normalized": flag("normalized"),
           "single_word": flag("single_word"), "lstrip": flag("lstrip"), "rstrip": flag("rstrip")})
}

fn read(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string()).unwrap()
}

fn text_tokenizer(json: &Value) -> TextTokenizer {
    let json = json.to_string();
    TextTokenizer::from_json(Path::new("test"), json.as_bytes(), Default::default()).unwrap()
}

/// All kinds, with and without NFC, merges for words that are tokens, and added tokens.
static ALL: LazyLock<Vec<(Tokenizer, Fast)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for kind in kinds() {
        for normalizer in [Value::Null, json!({"type": "NFC"})] {
            let mut json = trained(kind.clone());
            json["model"]["ignore_merges"] = json!(!normalizer.is_null());
            json["normalizer"] = normalizer;
            json["added_tokens"] = json!([
                added(420, "<|im_start|>", &["special"]),
                added(421, "<|im_end|>", &["special"]),
                added(422, "<|im_end|>\n", &[]),
                added(423, "\u{212A}elvin", &["normalized"]),
                added(424, "é", &["normalized"]),
            ]);
            let inner = read(&json);
            let fast = Fast::of(&inner).unwrap();
            all.push((inner, fast));
        }
    }
    all
});

/// Words by the library, as places in the text.
fn words_of(inner: &Tokenizer, text: &str) -> Vec<usize> {
    let mut split = PreTokenizedString::from(text);
    inner
        .get_pre_tokenizer()
        .unwrap()
        .pre_tokenize(&mut split)
        .unwrap();
    let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (_, end), _)| end).collect()
}

fn expect_same(text: &str) {
    for (inner, fast) in ALL.iter() {
        let mut ends = Vec::new();
        while ends.last().copied().unwrap_or(0) < text.len() {
            ends.push(fast.words.end(text, ends.last().copied().unwrap_or(0)));
        }
        let kind = inner.get_pre_tokenizer();
        assert_eq!(ends, words_of(inner, text), "{text:?} {kind:?}");
        let wanted = inner.encode_fast(text, false).unwrap();
        let got = fast.ids(inner, text);
        assert_eq!(got.as_deref(), Some(wanted.get_ids()), "{text:?} {kind:?}");
    }
}

fn every_char() -> impl Iterator<Item = char> {
    char::MIN..=char::MAX
}

#[test]
fn classes_are_those_of_the_regex_engine() {
    let all: String = every_char().collect();
    let classes = Classes::new(|_| false).unwrap();
    let found = |pattern: &str| {
        let regex = SysRegex::new(pattern).unwrap();
        let chars = regex
            .find_iter(&all)
            .map(|(from, _)| all[from..].chars().next().unwrap());
        chars.collect::<Vec<char>>()
    };
    for (pattern, class) in [
        (r"\p{L}", Class::Letter),
        (r"\p{N}", Class::Number),
        (r"\s", Class::Space),
        (r"[^\s\p{L}\p{N}]", Class::Other),
    ] {
        let ours: Vec<char> = every_char()
            .filter(|&char| classes.of(char) == class)
            .collect();
        assert!(ours == found(pattern), "{pattern}");
    }
    // Letters that equal those of the contractions in a pattern that does not tell cases apart.
    for letter in "trevmld".chars() {
        let both = [letter.to_ascii_uppercase(), letter];
        assert_eq!(found(&format!("(?i:{letter})")), both);
    }
    assert_eq!(found("(?i:s)"), ['S', 's', 'ſ']);

    let classes = Classes::new(char::is_numeric).unwrap();
    assert!(every_char().all(|char| (classes.of(char) == Class::Alone) == char.is_numeric()));
}

#[test]
fn every_character_alone_and_between_others() {
    let mut text = String::new();
    for (at, char) in every_char().enumerate() {
        // All of the first scripts, a sample of the rest: the classes of all are tested above.
        if char < '\u{800}' || at % 397 == 0 {
            let around = ["", "a", " ", "'", "1", "\n", "  ", ". "];
            text.push_str(around[at % around.len()]);
            text.push(char);
            text.push_str(around[at / 8 % around.len()]);
        }
        if text.len() > 5000 {
            expect_same(&text);
            text.clear();
        }
    }
    expect_same(&text);
}

#[test]
fn texts_with_every_turn() {
    expect_same("");
    expect_same(CORPUS);
    expect_same("'s'S'ſ'LL'lL'rE'Ve'dd'x''t 's  'm\n'll");
    expect_same("a  b\t\tc \n d\r\n\r\n  e \u{a0}\u{a0}f\u{2028}g   ");
    expect_same("1 12 123 1234  12345x67 ١٢٣٤٥ ²³ Ⅻ 一二 x1y2");
    expect_same("<|im_start|>user\nHi<|im_end|>\n<|im_end|> <|im_end|><|im_start|");
    expect_same("Kelvin \u{212A}elvin kelvin e\u{301} é \u{1100}\u{1161}\u{11a8}");
    expect_same(&"long".repeat(5000));
    expect_same(&" \n".repeat(5000));
}

#[test]
fn words_at_which_an_engine_gives_up_are_left_to_it() {
    let (inner, fast) = &ALL[0];
    assert!(fast.ids(inner, &" ".repeat(MAX_WORD)).is_some());
    assert!(fast.ids(inner, &" ".repeat(MAX_WORD + 1)).is_none());
}

#[test]
fn what_is_not_known_to_the_last_setting_is_not_taken() {
    let known = trained(bytes(true));
    assert!(Fast::of(&read(&known)).is_some());
    let changed = |path: &str, value: Value| {
        let mut json = known.clone();
        *json.pointer_mut(path).unwrap() = value;
        json
    };
    let mut prefix = bytes(true);
    prefix["add_prefix_space"] = json!(true);
    let mut removed = split(LLAMA3);
    removed["behavior"] = json!("Removed");
    let mut inverted = split(LLAMA3);
    inverted["invert"] = json!(true);
    let mut text = split("");
    text["pattern"] = json!({"String": QWEN2});
    let together = json!({"type": "Digits", "individual_digits": false});
    for pre_tokenizer in [
        Value::Null,
        bytes(false),
        prefix.clone(),
        sequence(digits(), bytes(false)),
        sequence(digits(), prefix),
        sequence(together, bytes(true)),
        sequence(bytes(true), digits()),
        sequence(split(LLAMA3), bytes(true)),
        sequence(split(&format!("{LLAMA3} ")), bytes(false)),
        sequence(removed, bytes(false)),
        sequence(inverted, bytes(false)),
        sequence(text, bytes(false)),
        sequence(split(QWEN2), sequence(digits(), bytes(false))),
        json!({"type": "Sequence", "pretokenizers": [split(QWEN2), digits(), bytes(false)]}),
    ] {
        let json = changed("/pre_tokenizer", pre_tokenizer);
        assert!(
            Fast::of(&read(&json)).is_none(),
            "{}",
            json["pre_tokenizer"]
        );
    }
    for (path, value) in [
        ("/normalizer", json!({"type": "NFKC"})),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]}),
        ),
        ("/model/dropout", json!(0.1)),
        (
            "/model",
            json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}),
        ),
    ] {
        assert!(Fast::of(&read(&changed(path, value))).is_none(), "{path}");
    }
}

#[test]
fn added_tokens_that_take_blanks_or_are_whole_words_are_the_librarys() {
    for flag in ["lstrip", "rstrip", "single_word"] {
        for normalized in ["", "normalized"] {
            let mut json = trained(bytes(true));
            json["added_tokens"] = json!([added(420, "<mask>", &[flag, normalized])]);
            let inner = read(&json);
            let fast = Fast::of(&inner).unwrap();
            assert_eq!(fast.ids(&inner, "a <mask> b"), None);
            let ids = inner.encode_fast("a <mask", false).unwrap();
            assert_eq!(fast.ids(&inner, "a <mask").as_deref(), Some(ids.get_ids()));
        }
    }
}

/// The fast way and the library alone, by all that callers get.
fn expect_equal(fast: &TextTokenizer, slow: &TextTokenizer, text: &str, pair: &str) {
    for special in [false, true] {
        let ids = |tokenizer: &TextTokenizer| tokenizer.encode_whole(text, special).unwrap();
        assert_eq!(ids(fast), ids(slow), "{text:?}");
    }
    for (pair, max_length) in [(None, 6), (Some(pair), 9), (Some(pair), 1000)] {
        let whole = |tokenizer: &TextTokenizer| tokenizer.encode(text, pair, max_length).unwrap();
        assert_eq!(whole(fast), whole(slow), "{text:?}");
    }
}

fn both(mut make: impl FnMut() -> TextTokenizer) -> (TextTokenizer, TextTokenizer) {
    let (fast, mut slow) = (make(), make());
    assert!(fast.fast.is_some());
    slow.fast = None;
    (fast, slow)
}

#[test]
fn fixtures_give_the_same_with_what_stands_around_a_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in [
        "tests/fixtures/bpe",
        "../../tests/goldens/gpt2_tiny",
        "../../tests/goldens/llama_tiny",
    ] {
        let (fast, slow) = both(|| TextTokenizer::from_dir(&root.join(folder)).unwrap());
        for text in [CORPUS, "", "a <mask> b", "<s>a</s></s>b", "the cat <unk>"] {
            expect_equal(&fast, &slow, text, "the other");
        }
    }
}

/// What can go wrong, in pieces.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Zäßéñ]{1,9}",
        2 => " {1,3}",
        1 => "[ \t\r\n\u{a0}\u{3000}\u{85}\u{2028}]{1,5}",
        1 => "[0-9]{1,5}",
        1 => "[٠-٩०-९²½ⅫⅮ〇]{1,4}",
        1 => "'(s|S|ſ|t|re|RE|ve|m|lL|d|x)",
        1 => "[\u{300}\u{301}\u{327}\u{fe0f}\u{200d}\u{0}]{1,2}",
        1 => "[.,:;!?'\"“”’–—<|>/#_-]{1,4}",
        1 => "[а-яА-Я]{1,6}|[一-龥]{1,4}|[\u{1100}-\u{1112}\u{1161}-\u{1175}]{1,3}|[가-힣]{1,3}",
        1 => "[😀-🙏🇦-🇿𝐀-𝟿𐍈]{1,2}",
        1 => "<\\|im_start\\|>|<\\|im_end\\|>\n?|\u{212A}elvin|Kelvin",
        1 => "[a-z]{60,90}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn ids_are_those_of_the_library(text in texts()) {
        expect_same(&text);
    }

    #[test]
    fn ids_of_any_characters_are_those_of_the_library(text in any::<String>()) {
        expect_same(&text);
    }

    #[test]
    fn whole_texts_and_pairs_are_as_without_the_fast_way(all in prop::collection::vec((texts(), texts()), 4)) {
        static BOTH: LazyLock<[(TextTokenizer, TextTokenizer); 4]> = LazyLock::new(|| {
            kinds().map(|kind| {
                let mut json = trained(kind);
                json["added_tokens"] = json!([added(420, "<|im_end|>", &["special"]), added(421, "-", &["rstrip"])]);
                let begin = json!({"SpecialToken": {"id": "<|im_end|>", "type_id": 0}});
                let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
                json["post_processor"] = json!({
                    "type": "TemplateProcessing",
                    "single": [begin, text("A", 0), begin],
                    "pair": [begin, text("A", 0), text("B", 1)],
                    "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [420], "tokens": ["<|im_end|>"]}},
                });
                both(|| text_tokenizer(&json))
            })
        });
        for ((fast, slow), (text, pair)) in BOTH.iter().zip(&all) {
            expect_equal(fast, slow, text, pair);
        }
    }
}
