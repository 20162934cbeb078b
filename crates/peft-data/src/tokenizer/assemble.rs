//! Builds the equivalent of a `tokenizer.json` from the older vocabulary files.
//!
//! Going through that file's own schema leaves one way of loading, and no need for the library's
//! builders, whose vocabulary type it does not export.

use super::files::{AddedToken, Config, REDOWNLOAD, bad, read};
use crate::error::DataError;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A tokenizer in `tokenizer.json`'s schema, and the ids its tokens must get.
pub(crate) struct Assembled {
    pub(crate) json: Value,
    pub(crate) expected: Vec<(u32, String)>,
}

/// Classes of BERT's WordPiece.
pub(super) const BERT: [&str; 6] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "ConvBertTokenizer",
    "SqueezeBertTokenizer",
];

/// BERT's WordPiece from `vocab.txt`; `None` if the file is not there.
pub(crate) fn wordpiece(dir: &Path, config: &Config) -> Result<Option<Assembled>, DataError> {
    let path = dir.join("vocab.txt");
    let Some(text) = read(&path)? else {
        return Ok(None);
    };
    config.check_class(&BERT)?;
    let mut vocab = Map::new();
    for (id, token) in text.lines().enumerate() {
        vocab.insert(token.to_owned(), json!(id));
    }
    let specials = specials(config, &vocab, &BERT_SPECIALS);
    let id = |role| required(&path, &specials, &vocab, role);
    let (unk, cls, sep) = (id("unk_token")?, id("cls_token")?, id("sep_token")?);
    let (added, expected) = added_tokens(config, &specials, &vocab);
    let json = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": config.flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": config.flag("strip_accents"),
            "lowercase": config.flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": sep, "cls": cls },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": unk.0,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    });
    Ok(Some(Assembled { json, expected }))
}

/// RoBERTa's byte-level BPE from `vocab.json` and `merges.txt`; `None` unless both are there.
pub(crate) fn byte_bpe(dir: &Path, config: &Config) -> Result<Option<Assembled>, DataError> {
    let (path, merges_path) = (dir.join("vocab.json"), dir.join("merges.txt"));
    let (Some(text), Some(merges)) = (read(&path)?, read(&merges_path)?) else {
        return Ok(None);
    };
    config.check_class(&["RobertaTokenizer", "LongformerTokenizer", "BartTokenizer"])?;
    let vocab: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
        bad(
            &path,
            format!("not a JSON object of token to id: {e}"),
            REDOWNLOAD,
        )
    })?;
    let merges = parse_merges(&merges, &merges_path)?;
    let specials = specials(config, &vocab, &ROBERTA_SPECIALS);
    let id = |role| required(&path, &specials, &vocab, role);
    let (cls, sep) = (id("cls_token")?, id("sep_token")?);
    let (added, expected) = added_tokens(config, &specials, &vocab);
    let prefix = config.flag("add_prefix_space").unwrap_or(false);
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true,
    });
    let json = json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": sep, "cls": cls, "trim_offsets": true, "add_prefix_space": prefix,
        },
        "decoder": byte_level,
        "model": { "type": "BPE", "fuse_unk": false, "vocab": vocab, "merges": merges },
    });
    Ok(Some(Assembled { json, expected }))
}

fn parse_merges(text: &str, path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let mut merges = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let pair = line
            .split_once(' ')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty());
        let Some((a, b)) = pair.filter(|(_, b)| !b.contains(' ')) else {
            let problem = format!("line {number}: expected two tokens with a space between them");
            return Err(bad(path, problem, REDOWNLOAD));
        };
        merges.push((a.to_owned(), b.to_owned()));
    }
    Ok(merges)
}

pub(crate) type Roles = [(&'static str, &'static str)];
const BERT_SPECIALS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA_SPECIALS: [(&str, &str); 7] = [
    ("cls_token", "<s>"),
    ("sep_token", "</s>"),
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];

/// The special tokens that the vocabulary has, by role.
pub(crate) fn specials(
    config: &Config,
    vocab: &Map<String, Value>,
    roles: &Roles,
) -> Vec<(&'static str, AddedToken)> {
    let token = |role, default: &str| {
        let plain = AddedToken {
            content: default.to_owned(),
            flags: Map::new(),
        };
        (role, config.special(role).unwrap_or(plain))
    };
    let all = roles.iter().map(|&(role, default)| token(role, default));
    all.filter(|(_, token)| vocab.contains_key(&token.content))
        .collect()
}

/// A special token that there must be, with its id.
pub(crate) fn required(
    path: &Path,
    specials: &[(&'static str, AddedToken)],
    vocab: &Map<String, Value>,
    role: &str,
) -> Result<(String, u32), DataError> {
    let found = specials
        .iter()
        .find(|(r, _)| *r == role)
        .and_then(|(_, token)| {
            let id = u32::try_from(vocab.get(&token.content)?.as_u64()?).ok()?;
            Some((token.content.clone(), id))
        });
    let fix = "name the token in special_tokens_map.json, or take the whole tokenizer from the \
               checkpoint's source";
    found.ok_or_else(|| bad(path, format!("the vocabulary lacks the {role}"), fix))
}

/// Special and added tokens in the order of their ids, and the ids that they must get.
pub(crate) fn added_tokens(
    config: &Config,
    specials: &[(&'static str, AddedToken)],
    vocab: &Map<String, Value>,
) -> (Vec<Value>, Vec<(u32, String)>) {
    let id = |token: &AddedToken| u32::try_from(vocab.get(&token.content)?.as_u64()?).ok();
    let special = specials
        .iter()
        .filter_map(|(_, t)| Some((id(t)?, t.clone(), true)));
    let added = config.added.iter().map(|(id, t)| (*id, t.clone(), false));
    // An added token's flags are the fuller ones where both name it: it comes first, and the
    // stable sort keeps it there.
    let mut all: Vec<_> = added.chain(special).collect();
    all.sort_by_key(|(id, ..)| *id);
    all.dedup_by(|b, a| a.1.content == b.1.content);
    let expected = all
        .iter()
        .map(|(id, t, _)| (*id, t.content.clone()))
        .collect();
    let entry = |(id, token, special): (u32, AddedToken, bool)| {
        let mut entry = json!({
            "id": id, "content": token.content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": !special, "special": special,
        });
        if let Some(object) = entry.as_object_mut() {
            object.extend(token.flags);
        }
        entry
    };
    (all.into_iter().map(entry).collect(), expected)
}
