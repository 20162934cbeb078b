//! What keeps a hostile `tokenizer.json` from getting at the places where the library panics.

use super::files::{REDOWNLOAD, bad};
use crate::error::DataError;
use serde::Deserialize;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

type Object = serde_json::Map<String, Value>;

/// The parts that are looked at; the rest is only parsed.
#[derive(Deserialize)]
struct Outline {
    post_processor: Option<Value>,
    normalizer: Option<Value>,
}

/// Refuses files that the library would accept or stumble over: text that is no JSON (its decoder's
/// reader unwraps), templates that name tokens or texts that are not there, and precompiled
/// normalizers without their table.
pub(crate) fn check(path: &Path, json: &[u8]) -> Result<(), DataError> {
    let invalid = |problem: String| {
        let problem = format!("not a valid tokenizer: {problem}");
        bad(path, problem, REDOWNLOAD)
    };
    let outline: Outline = serde_json::from_slice(json).map_err(|e| invalid(e.to_string()))?;
    if let Some(processor) = &outline.post_processor {
        walk(processor, template).map_err(invalid)?;
    }
    if let Some(normalizer) = &outline.normalizer {
        walk(normalizer, precompiled).map_err(invalid)?;
    }
    Ok(())
}

/// Visits a value and all below it; serde_json has bounded their depth.
fn walk(value: &Value, visit: fn(&Object) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            visit(map)?;
            map.values().try_for_each(|below| walk(below, visit))
        }
        Value::Array(list) => list.iter().try_for_each(|below| walk(below, visit)),
        _ => Ok(()),
    }
}

/// A template may only name the texts that it gets, and special tokens that the file defines.
fn template(map: &Object) -> Result<(), String> {
    for (name, texts) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        let Some(Value::Array(pieces)) = map.get(name) else {
            continue;
        };
        let field = |piece: &Value, kind: &str| {
            let id = piece.get(kind)?.get("id")?.as_str();
            id.map(str::to_owned)
        };
        for piece in pieces {
            if let Some(id) = field(piece, "SpecialToken") {
                let token = map.get("special_tokens").and_then(|t| t.get(&id));
                let named = token.and_then(|t| t.get("id")).and_then(Value::as_str);
                if named != Some(id.as_str()) {
                    return Err("a template names a special token that is not defined".into());
                }
            }
            if field(piece, "Sequence").is_some_and(|id| !texts.contains(&id.as_str())) {
                return Err(format!(
                    "the template `{name}` names a text that it does not get"
                ));
            }
        }
    }
    Ok(())
}

/// The library unwraps what it makes of the table.
fn precompiled(map: &Object) -> Result<(), String> {
    if map.get("type").and_then(Value::as_str) != Some("Precompiled") {
        return Ok(());
    }
    match map.get("precompiled_charsmap") {
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        _ => Err("a precompiled normalizer has no table".into()),
    }
}

/// Runs the library. Should it panic all the same, that is an error like another; what it prints
/// then is the panic hook's affair.
pub(crate) fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let text = crate::error::shorten(text.unwrap_or("no reason given"));
            Err(format!("the tokenizer library failed: {text}"))
        }
    }
}
