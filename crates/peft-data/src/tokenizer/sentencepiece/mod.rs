//! Tokenizers of folders that have a SentencePiece model instead of `tokenizer.json`, as transformers' classes
//! make them.

mod family;
mod proto;

use self::{
    family::Family,
    proto::{Algorithm, Model, PieceKind},
};
use super::assemble::{Assembled, added_tokens, required, specials};
use super::files::{AddedToken, Config, REDOWNLOAD, bad, read_bytes};
use crate::error::{DataError, shorten};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What families call the file.
const NAMES: [&str; 4] = [
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
];

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// Bytes of the longest piece that others may merge into. SentencePiece's own limit is 16 characters; finding
/// merges takes the square of this.
const LONGEST: usize = 512;

/// The tokenizer of a SentencePiece model and the name of its file; `None` if there is none.
pub(crate) fn sentencepiece(
    dir: &Path,
    config: &Config,
) -> Result<Option<(&'static str, Assembled)>, DataError> {
    for name in NAMES {
        let path = dir.join(name);
        if let Some(bytes) = read_bytes(&path)? {
            let family = Family::of(dir, config)?;
            let model = Model::parse(&bytes).map_err(|fault| {
                bad(
                    &path,
                    format!("not a SentencePiece model: {fault}"),
                    REDOWNLOAD,
                )
            })?;
            return Ok(Some((name, assemble(&path, config, family, &model)?)));
        }
    }
    Ok(None)
}

fn assemble(
    path: &Path,
    config: &Config,
    family: Family,
    model: &Model,
) -> Result<Assembled, DataError> {
    if model.algorithm != family.algorithm() {
        let problem = format!(
            "its pieces are not cut as those of {} are: {:?}",
            family.class(),
            model.algorithm
        );
        let fix = "write tokenizer.json: python -c \"from transformers import AutoTokenizer as T; \
                   T.from_pretrained('DIR').save_pretrained('DIR')\"";
        return Err(bad(path, problem, fix));
    }
    let pieces = family.pieces(config, model);
    let vocab: Map<String, Value> = pieces
        .iter()
        .enumerate()
        .map(|(id, (text, _))| (text.clone(), json!(id)))
        .collect();
    let mut specials = specials(config, &vocab, family.roles());
    for (role, token) in &mut specials {
        // As transformers has it where nothing says otherwise.
        if family == Family::Camembert && *role == "mask_token" {
            token.flags.entry("lstrip").or_insert(json!(true));
        }
    }
    for piece in &model.pieces {
        let special = match piece.kind {
            PieceKind::Control => true,
            PieceKind::UserDefined => false,
            _ => continue,
        };
        let known = specials
            .iter()
            .any(|(_, token)| token.content == piece.text);
        if !known && !piece.text.is_empty() && vocab.contains_key(&piece.text) {
            let flags = [("normalized", false), ("special", special)];
            let flags = flags.map(|(key, value)| (key.to_owned(), json!(value)));
            let token = AddedToken {
                content: piece.text.clone(),
                flags: flags.into_iter().collect(),
            };
            specials.push(("piece", token));
        }
    }
    let (added, expected) = added_tokens(config, &specials, &vocab);
    let id = |role| required(path, &specials, &vocab, role);
    let unknown = id("unk_token")?;
    let cutting = match family.algorithm() {
        Algorithm::Bpe => json!({
            "type": "BPE",
            // Llama's class names none.
            "unk_token": (family == Family::Gemma).then_some(unknown.0),
            "fuse_unk": true,
            "byte_fallback": true,
            "merges": merges(path, model, &vocab)?,
            "vocab": vocab,
        }),
        _ => json!({
            "type": "Unigram",
            "unk_id": unknown.1,
            "vocab": pieces,
            "byte_fallback": false,
        }),
    };
    let ends = family.ends(config);
    let ends = [ends[0].map(id).transpose()?, ends[1].map(id).transpose()?];
    let json = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": family.normalizer(config, &model.charsmap),
        "pre_tokenizer": family.pre_tokenizer(config),
        "post_processor": family.post_processor(&ends),
        "decoder": family.decoder(config),
        "model": cutting,
    });
    Ok(Assembled { json, expected })
}

/// Merges in transformers' order: every way to split a piece into two, by the piece's id, and the shorter left
/// part first.
fn merges(
    path: &Path,
    model: &Model,
    vocab: &Map<String, Value>,
) -> Result<Vec<(String, String)>, DataError> {
    let mut merges = Vec::new();
    for (id, piece) in model.pieces.iter().enumerate() {
        let text = &piece.text;
        // Of equal pieces the last has the id.
        if vocab.get(text).and_then(Value::as_u64) != Some(id as u64) {
            continue;
        }
        if text.len() > LONGEST {
            let problem = format!("a piece of {} bytes, `{}`", text.len(), shorten(text));
            return Err(bad(path, problem, REDOWNLOAD));
        }
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
    }
    Ok(merges)
}
