//! The tokens, their types, and the ids that name them.

use std::collections::HashMap;

use crate::error::{Result, shorten};
use crate::gguf::GgufFile;

const TOKENS: &str = "tokenizer.ggml.tokens";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The tokens in the order of their ids.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub tokens: Vec<String>,
    pub types: Vec<TokenType>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    pub fn read(file: &GgufFile) -> Result<Self> {
        let found = file.strings(TOKENS)?;
        let bytes = file.required(TOKENS, "an array of at least one token", found)?;
        if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
            let expected = "an array of 1 to 2^32 - 1 tokens";
            return Err(file.field(TOKENS, expected, bytes.len().to_string()));
        }
        let mut tokens = Vec::with_capacity(bytes.len());
        let mut ids = HashMap::with_capacity(bytes.len());
        for (id, bytes) in bytes.iter().enumerate() {
            let token = match std::str::from_utf8(bytes) {
                // As llama.cpp names a token without text.
                Ok("") => format!("[EMPTY_{id}]"),
                Ok(text) => text.to_owned(),
                // No text matches it, but its id must stay taken.
                Err(_) => format!("[BYTES_{id}]"),
            };
            if let Some(first) = ids.insert(token.clone(), id as u32) {
                let found = format!("`{}` as tokens {first} and {id}", shorten(&token));
                return Err(file.field(TOKENS, "every token once", found));
            }
            tokens.push(token);
        }
        let types = types(file, tokens.len())?;
        Ok(Self { tokens, types, ids })
    }

    /// The id of a token by its text.
    pub fn find(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// An id of the metadata, below the number of tokens.
    pub fn id(&self, file: &GgufFile, key: &str) -> Result<Option<u32>> {
        let Some(id) = file.unsigned(key)? else {
            return Ok(None);
        };
        match u32::try_from(id) {
            Ok(id) if (id as usize) < self.tokens.len() => Ok(Some(id)),
            _ => {
                let expected = format!("an id below {}", self.tokens.len());
                Err(file.field(key, expected, id.to_string()))
            }
        }
    }

    /// The scores, one a token.
    pub fn scores(&self, file: &GgufFile) -> Result<Vec<f32>> {
        let key = "tokenizer.ggml.scores";
        let scores = file.required(key, "one score a token", file.floats(key)?)?;
        if scores.len() != self.tokens.len() || scores.iter().any(|s| s.is_nan()) {
            let expected = format!("{} numbers, one a token", self.tokens.len());
            return Err(file.field(key, expected, format!("{} values", scores.len())));
        }
        Ok(scores)
    }
}

/// The types; without them, every token is a normal one.
fn types(file: &GgufFile, tokens: usize) -> Result<Vec<TokenType>> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = file.integers(key)? else {
        return Ok(vec![TokenType::Normal; tokens]);
    };
    if types.len() != tokens {
        let expected = format!("{tokens} types, one a token");
        return Err(file.field(key, expected, types.len().to_string()));
    }
    let read = |(id, kind): (usize, u64)| match kind {
        1 => Ok(TokenType::Normal),
        2 => Ok(TokenType::Unknown),
        3 => Ok(TokenType::Control),
        4 => Ok(TokenType::UserDefined),
        5 => Ok(TokenType::Unused),
        6 => Ok(TokenType::Byte),
        kind => {
            let found = format!("{kind} of token {id}");
            Err(file.field(key, "types of 1 to 6", found))
        }
    };
    types.into_iter().enumerate().map(read).collect()
}
