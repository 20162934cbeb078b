//! What transformers' classes make of a SentencePiece model.

use super::SPACE;
use super::proto::{Algorithm, Model};
use crate::error::DataError;
use crate::tokenizer::assemble::Roles;
use crate::tokenizer::files::{Config, object};
use serde_json::{Value, json};
use std::path::Path;

/// A class of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Albert,
    XlmRoberta,
    Camembert,
    /// DeBERTa-v2's and -v3's.
    DebertaV2,
    /// Mistral's and Phi-3's, too.
    Llama,
    Gemma,
}

const ALL: [Family; 6] = [
    Family::Albert,
    Family::DebertaV2,
    Family::XlmRoberta,
    Family::Camembert,
    Family::Llama,
    Family::Gemma,
];

const ALBERT: [(&str, &str); 7] = [
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "[MASK]"),
];
const DEBERTA: [(&str, &str); 7] = [
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("pad_token", "[PAD]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA: [(&str, &str); 7] = [
    ("cls_token", "<s>"),
    ("sep_token", "</s>"),
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];
const LLAMA: [(&str, &str); 4] = [
    ("unk_token", "<unk>"),
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    // None unless the settings name one: no piece is called so.
    ("pad_token", ""),
];
const GEMMA: [(&str, &str); 5] = [
    ("unk_token", "<unk>"),
    ("bos_token", "<bos>"),
    ("eos_token", "<eos>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];

impl Family {
    /// The class that a folder names, or that its model has.
    pub fn of(dir: &Path, config: &Config) -> Result<Self, DataError> {
        if let Some(class) = config.text("tokenizer_class") {
            let class = class.trim_end_matches("Fast");
            if let Some(found) = ALL.into_iter().find(|family| family.class() == class) {
                return Ok(found);
            }
        } else {
            let fields = object(&dir.join("config.json"))?;
            let kind = fields.get("model_type").and_then(Value::as_str);
            let known = match kind.unwrap_or_default() {
                "albert" => Some(Self::Albert),
                "xlm-roberta" => Some(Self::XlmRoberta),
                "camembert" => Some(Self::Camembert),
                "deberta-v2" => Some(Self::DebertaV2),
                "llama" | "mistral" | "phi3" => Some(Self::Llama),
                "gemma" | "gemma2" | "gemma3_text" => Some(Self::Gemma),
                _ => None,
            };
            if let Some(found) = known {
                return Ok(found);
            }
        }
        let classes = ALL.map(Self::class);
        config.check_class(&classes)?;
        // The folder names neither a class nor a kind of model: the commonest.
        Ok(Self::Llama)
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Albert => "AlbertTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::DebertaV2 => "DebertaV2Tokenizer",
            Self::Llama => "LlamaTokenizer",
            Self::Gemma => "GemmaTokenizer",
        }
    }

    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Llama | Self::Gemma => Algorithm::Bpe,
            _ => Algorithm::Unigram,
        }
    }

    /// Special tokens by role, and what they are called where nothing is said.
    pub fn roles(self) -> &'static Roles {
        match self {
            Self::Albert => &ALBERT,
            Self::XlmRoberta | Self::Camembert => &ROBERTA,
            Self::DebertaV2 => &DEBERTA,
            Self::Llama => &LLAMA,
            Self::Gemma => &GEMMA,
        }
    }

    /// The vocabulary with scores: fairseq's tokens come before the pieces, and one after them.
    pub fn pieces(self, config: &Config, model: &Model) -> Vec<(String, f64)> {
        let named = |role: &str| {
            let usual = self.roles().iter().find(|(known, _)| *known == role);
            let usual = usual.map_or("", |(_, token)| token);
            let token = config.special(role);
            token.map_or_else(|| usual.to_owned(), |token| token.content)
        };
        let own = model.pieces.iter();
        let own = own.map(|piece| (piece.text.clone(), f64::from(piece.score)));
        let (before, skipped) = match self {
            Self::XlmRoberta => {
                let roles = ["bos_token", "pad_token", "eos_token", "unk_token"];
                (roles.map(|role| (named(role), 0.0)).to_vec(), 3)
            }
            Self::Camembert => {
                let fixed = |text: &str, score| (text.to_owned(), score);
                let tokens = vec![
                    fixed("<s>NOTUSED", 0.0),
                    (named("pad_token"), 0.0),
                    fixed("</s>NOTUSED", 0.0),
                    (named("unk_token"), 0.0),
                    fixed("<unk>NOTUSED", -100.0),
                ];
                (tokens, 1)
            }
            Self::DebertaV2 => (Vec::new(), 0),
            _ => return own.collect(),
        };
        let mask = (named("mask_token"), 0.0);
        if self == Self::DebertaV2 && model.pieces.iter().any(|piece| piece.text == mask.0) {
            return own.collect();
        }
        before
            .into_iter()
            .chain(own.skip(skipped))
            .chain([mask])
            .collect()
    }

    /// The roles of the tokens that begin and end a text.
    pub fn ends(self, config: &Config) -> [Option<&'static str>; 2] {
        match self {
            Self::Albert | Self::DebertaV2 => [Some("cls_token"), Some("sep_token")],
            Self::XlmRoberta | Self::Camembert => [Some("bos_token"), Some("eos_token")],
            Self::Llama | Self::Gemma => {
                let [begins, ends] = ["add_bos_token", "add_eos_token"].map(|key| config.flag(key));
                let told = begins.or(ends).is_some();
                let begins = told && begins.unwrap_or(true);
                let ends = ends.unwrap_or(false);
                [begins.then_some("bos_token"), ends.then_some("eos_token")]
            }
        }
    }

    pub fn normalizer(self, config: &Config, charsmap: &[u8]) -> Value {
        let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
        let precompiled = (!charsmap.is_empty())
            .then(|| json!({ "type": "Precompiled", "precompiled_charsmap": base64(charsmap) }));
        match self {
            Self::Llama => Value::Null,
            Self::Gemma => replace(" ", SPACE),
            Self::XlmRoberta | Self::Camembert => precompiled.unwrap_or_default(),
            // Its class passes over the characters' map of the model.
            Self::DebertaV2 => {
                let mut all = Vec::new();
                if config.flag("do_lower_case").unwrap_or(false) {
                    all.push(json!({ "type": "Lowercase" }));
                }
                let spaces = json!({ "Regex": r"\s{2,}|[\n\r\t]" });
                all.extend([
                    json!({ "type": "Replace", "pattern": spaces, "content": " " }),
                    json!({ "type": "NFC" }),
                    json!({ "type": "Strip", "strip_left": false, "strip_right": true }),
                ]);
                json!({ "type": "Sequence", "normalizers": all })
            }
            Self::Albert => {
                let mut all = vec![replace("``", "\""), replace("''", "\"")];
                if !config.flag("keep_accents").unwrap_or(false) {
                    all.extend([json!({ "type": "NFKD" }), json!({ "type": "StripAccents" })]);
                }
                if config.flag("do_lower_case").unwrap_or(true) {
                    all.push(json!({ "type": "Lowercase" }));
                }
                all.extend(precompiled);
                json!({ "type": "Sequence", "normalizers": all })
            }
        }
    }

    /// Whether a space is thought before a text, and before every part of it between special tokens.
    fn prefix(self, config: &Config) -> &'static str {
        match (config.flag("add_prefix_space").unwrap_or(true), self) {
            (false, Self::DebertaV2) => "first",
            (false, _) => "never",
            (true, Self::Llama) if !config.flag("legacy").unwrap_or(false) => "first",
            (true, _) => "always",
        }
    }

    pub fn pre_tokenizer(self, config: &Config) -> Value {
        let spaces = |split: bool| {
            json!({
                "type": "Metaspace", "replacement": SPACE, "prepend_scheme": self.prefix(config),
                "split": split,
            })
        };
        match self {
            Self::Llama => spaces(false),
            Self::DebertaV2 => {
                let punctuation = json!({ "type": "Punctuation", "behavior": "Isolated" });
                let splits = config.flag("split_by_punct").unwrap_or(false);
                let all: Vec<Value> = splits.then_some(punctuation).into_iter().collect();
                let all = [all, vec![spaces(true)]].concat();
                json!({ "type": "Sequence", "pretokenizers": all })
            }
            Self::Gemma => json!({
                "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious",
                "invert": false,
            }),
            _ => json!({
                "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, spaces(true)],
            }),
        }
    }

    pub fn decoder(self, config: &Config) -> Value {
        let prefix = self.prefix(config);
        if let Self::Albert | Self::XlmRoberta | Self::Camembert | Self::DebertaV2 = self {
            return json!({
                "type": "Metaspace", "replacement": SPACE, "prepend_scheme": prefix, "split": true,
            });
        }
        let mut all = vec![
            json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if self == Self::Llama && prefix != "never" {
            all.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        json!({ "type": "Sequence", "decoders": all })
    }

    /// What stands around a text, and around a pair.
    pub fn post_processor(self, ends: &[Option<(String, u32)>; 2]) -> Value {
        let [begin, end] = ends;
        let special = |token: &Option<(String, u32)>, segment: u32| {
            let (token, _) = token.as_ref()?;
            Some(json!({ "SpecialToken": { "id": token, "type_id": segment } }))
        };
        let text =
            |id: &str, segment: u32| Some(json!({ "Sequence": { "id": id, "type_id": segment } }));
        let single = [special(begin, 0), text("A", 0), special(end, 0)];
        let second = match self {
            Self::Albert | Self::DebertaV2 => [None, text("B", 1), special(end, 1)],
            Self::XlmRoberta | Self::Camembert => [special(end, 0), text("B", 0), special(end, 0)],
            Self::Llama | Self::Gemma => [special(begin, 1), text("B", 1), special(end, 1)],
        };
        let pair = single.clone().into_iter().chain(second).flatten();
        let pair: Vec<Value> = pair.collect();
        let single: Vec<Value> = single.into_iter().flatten().collect();
        let tokens: serde_json::Map<String, Value> = ends
            .iter()
            .flatten()
            .map(|(token, id)| {
                let told = json!({ "id": token, "ids": [id], "tokens": [token] });
                (token.clone(), told)
            })
            .collect();
        json!({
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
        })
    }
}

/// Bytes as `tokenizer.json` has them in a text.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            match place <= three.len() {
                true => text.push(char::from(
                    LETTERS[(bits >> (18 - 6 * place)) as usize & 63],
                )),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn bytes_are_written_by_threes() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (&[255, 254, 253], "//79"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
