//! The tokenizer of a file's metadata as Hugging Face's `tokenizer.json`.
//!
//! Two kinds are read: byte-level BPE, whose split of the text into words comes from
//! `tokenizer.ggml.pre`, and SentencePiece BPE, whose merges come from the scores. Any other kind
//! and any other `pre` is an error and never a default: a wrong split gives other tokens without
//! anybody noticing.

mod bpe;
mod sentencepiece;
mod split;
mod vocabulary;

use serde_json::{Map, Value as Json, json};

use super::GgufFile;
use crate::error::{Result, shorten};
use vocabulary::{TokenType, Vocabulary};

/// Tokens that end an answer wherever a vocabulary has them.
const ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

/// A tokenizer and what else the metadata say of text.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTokenizer {
    /// The content of `tokenizer.json`.
    pub json: Json,
    /// Tokens.
    pub vocabulary: usize,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token that fills up batches.
    pub pad: Option<u32>,
    /// The token of what has no other.
    pub unknown: Option<u32>,
    /// Whether texts begin with `bos`; the JSON adds it.
    pub add_bos: bool,
    /// Whether texts end with `eos`; the JSON adds it.
    pub add_eos: bool,
    /// Every token that ends generation, rising: `eos`, the end of a turn, and the usual names of
    /// the latter.
    pub ends: Vec<u32>,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
    /// Further chat templates by name.
    pub named_templates: Vec<(String, String)>,
    /// The content of `tokenizer_config.json`: special tokens by their roles (`bos_token` and so on, of
    /// the end of a turn `eot_token`) and `chat_template`, a text or a list of `{name, template}`.
    pub settings: Map<String, Json>,
}

/// Reads the tokenizer.
///
/// # Errors
/// [`FormatError::Field`](crate::FormatError::Field): no tokens, lists of unequal length, a token
/// twice, ids beyond the vocabulary, a kind of tokenizer or a `pre` that is not read.
pub fn read(file: &GgufFile) -> Result<GgufTokenizer> {
    let key = "tokenizer.ggml.model";
    let model = file.required(key, "`gpt2` or `llama`", file.text(key)?)?;
    let vocabulary = Vocabulary::read(file)?;
    let sentencepiece = match model {
        "llama" => true,
        "gpt2" => false,
        other => {
            let expected = "`gpt2` (byte-level BPE) or `llama` (SentencePiece BPE)";
            return Err(file.field(key, expected, format!("`{}`", shorten(other))));
        }
    };
    let split = match sentencepiece {
        true => None,
        false => Some(split::Split::read(file)?),
    };
    // The ids of Llama's tokenizer, which old files leave out.
    let usual = |id| Some(id).filter(|_| sentencepiece);
    let id = |name: &str| vocabulary.id(file, &format!("tokenizer.ggml.{name}_token_id"));
    let bos = id("bos")?.or(usual(1));
    let eos = id("eos")?.or(usual(2));
    let unknown = id("unknown")?.or(usual(0));
    let (eot, pad) = (id("eot")?, id("padding")?);
    let add_bos = file.boolean("tokenizer.ggml.add_bos_token")?;
    let add_bos = add_bos.unwrap_or(split.as_ref().is_none_or(|split| split.begins));
    let add_eos = file
        .boolean("tokenizer.ggml.add_eos_token")?
        .unwrap_or(false);
    let ends = {
        let named = ENDS.iter().filter_map(|name| vocabulary.find(name));
        let mut ends: Vec<u32> = eos.into_iter().chain(eot).chain(named).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    };
    let mut json = match &split {
        Some(split) => bpe::json(file, &vocabulary, split)?,
        None => sentencepiece::json(file, &vocabulary, unknown)?,
    };
    json.insert("added_tokens".into(), added(&vocabulary));
    json.insert(
        "post_processor".into(),
        template(
            file,
            &vocabulary,
            bos.filter(|_| add_bos),
            eos.filter(|_| add_eos),
            (add_bos, add_eos),
        )?,
    );
    let (chat_template, named_templates) = templates(file)?;
    let mut settings = Map::from_iter([(
        "tokenizer_class".to_owned(),
        Json::from("PreTrainedTokenizerFast"),
    )]);
    let roles = [
        ("bos", bos),
        ("eos", eos),
        ("eot", eot),
        ("pad", pad),
        ("unk", unknown),
    ];
    for (role, id) in roles {
        if let Some(token) = id.and_then(|id| vocabulary.tokens.get(id as usize)) {
            settings.insert(format!("{role}_token"), token.as_str().into());
        }
    }
    if let Some(templates) = template_setting(&chat_template, &named_templates) {
        settings.insert("chat_template".into(), templates);
    }
    Ok(GgufTokenizer {
        json: Json::Object(json),
        vocabulary: vocabulary.tokens.len(),
        bos,
        eos,
        pad,
        unknown,
        add_bos,
        add_eos,
        ends,
        chat_template,
        named_templates,
        settings,
    })
}

/// Chat templates as `tokenizer_config.json` has them.
fn template_setting(plain: &Option<String>, named: &[(String, String)]) -> Option<Json> {
    let plain = plain.as_ref().map(|text| ("default", text));
    match (plain, named) {
        (None, []) => None,
        (Some((_, text)), []) => Some(text.as_str().into()),
        (plain, named) => {
            let named = named.iter().map(|(name, text)| (name.as_str(), text));
            let all = plain.into_iter().chain(named);
            Some(
                all.map(|(name, template)| json!({"name": name, "template": template}))
                    .collect(),
            )
        }
    }
}

/// Control tokens as special ones, user-defined tokens as plain ones; both are found in the text
/// before anything else, the longest first, as the library does by itself.
fn added(vocabulary: &Vocabulary) -> Json {
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.types).enumerate();
    tokens
        .filter(|(_, (_, kind))| matches!(kind, TokenType::Control | TokenType::UserDefined))
        .map(|(id, (token, kind))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": *kind == TokenType::Control,
            })
        })
        .collect()
}

/// What is added to a text: BOS before each sequence, EOS behind it.
fn template(
    file: &GgufFile,
    vocabulary: &Vocabulary,
    bos: Option<u32>,
    eos: Option<u32>,
    (add_bos, add_eos): (bool, bool),
) -> Result<Json> {
    for (wanted, id, name) in [(add_bos, bos, "bos"), (add_eos, eos, "eos")] {
        if wanted && id.is_none_or(|id| id as usize >= vocabulary.tokens.len()) {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let expected = "the id of a token, for texts get it";
            return Err(file.field(&key, expected, "none in the vocabulary"));
        }
    }
    if bos.is_none() && eos.is_none() {
        return Ok(Json::Null);
    }
    let text = |id: u32| &vocabulary.tokens[id as usize];
    let sequence = |name: &str, type_id: u8| {
        let special = |id: u32| json!({"SpecialToken": {"id": text(id), "type_id": type_id}});
        let mut parts: Vec<Json> = bos.map(special).into_iter().collect();
        parts.push(json!({"Sequence": {"id": name, "type_id": type_id}}));
        parts.extend(eos.map(special));
        parts
    };
    let specials: Map<String, Json> = bos
        .into_iter()
        .chain(eos)
        .map(|id| {
            let entry = json!({"id": text(id), "ids": [id], "tokens": [text(id)]});
            (text(id).clone(), entry)
        })
        .collect();
    let pair = [sequence("A", 0), sequence("B", 1)].concat();
    Ok(json!({
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": pair,
        "special_tokens": specials,
    }))
}

/// The chat template and those with names.
#[expect(
    clippy::type_complexity,
    reason = "a pair of results, named where it is used"
)]
fn templates(file: &GgufFile) -> Result<(Option<String>, Vec<(String, String)>)> {
    let key = "tokenizer.chat_template";
    let plain = file.text(key)?.map(str::to_owned);
    let mut named = Vec::new();
    for (name, _) in file.metadata() {
        if let Some(short) = name.strip_prefix("tokenizer.chat_template.")
            && let Some(text) = file.text(name)?
        {
            named.push((short.to_owned(), text.to_owned()));
        }
    }
    Ok((plain, named))
}
