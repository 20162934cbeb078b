//! The ids of byte-level BPE without the library's regex engine: the patterns of the field are cut by hand, and the tokens of
//! words that were met before are remembered. What comes out is exactly what the library gives.

mod added;
mod cache;
mod classes;
#[cfg(test)]
mod tests;
mod words;

use added::Added;
use cache::Cache;
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use tokenizers::{Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, Tokenizer};
use words::Words;

/// Regex engines may give up on longer words, and then the library goes on without them.
const MAX_WORD: usize = 1 << 16;

/// The fast way to ids, for the tokenizers that have one.
pub(super) struct Fast {
    words: Words,
    exact: Added,
    normalized: Added,
    /// How GPT-2 writes each byte.
    alphabet: [char; 256],
    /// Caches that no thread uses at the moment.
    caches: Mutex<Vec<Cache>>,
}

impl Fast {
    /// `None` for a tokenizer of which anything is not known.
    pub(super) fn of(inner: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(bpe) = inner.get_model() else {
            return None;
        };
        let normalizer = inner.get_normalizer();
        let known = matches!(normalizer, None | Some(NormalizerWrapper::NFC(_)));
        if bpe.dropout.is_some() || !known || inner.get_encode_special_tokens() {
            return None;
        }
        Some(Self {
            words: Words::of(inner.get_pre_tokenizer()?)?,
            exact: Added::of(inner, false)?,
            normalized: Added::of(inner, true)?,
            alphabet: alphabet(),
            caches: Mutex::default(),
        })
    }

    /// The ids of a text without the tokens that stand around it; `None` for one that is the library's, failures included.
    pub(super) fn ids(&self, inner: &Tokenizer, text: &str) -> Option<Vec<u32>> {
        let caches = || self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cache = caches().pop().unwrap_or_default();
        let mut ids = Vec::with_capacity(text.len() / 4);
        let done = self.exact.split(text, &mut ids, |part, ids| {
            let part = normalized(inner, part);
            self.normalized.split(&part, ids, |part, ids| {
                self.words(inner.get_model(), part, &mut cache, ids)
            })
        });
        caches().push(cache);
        done.map(|()| ids)
    }

    fn words(
        &self,
        model: &ModelWrapper,
        text: &str,
        cache: &mut Cache,
        ids: &mut Vec<u32>,
    ) -> Option<()> {
        let mut from = 0;
        while from < text.len() {
            let end = self.words.end(text, from);
            let word = &text[from..end];
            from = end;
            if cache.add_to(ids, word) {
                continue;
            }
            if word.len() > MAX_WORD {
                return None;
            }
            let bytes = word.bytes().map(|byte| self.alphabet[usize::from(byte)]);
            let tokens = model.tokenize(&bytes.collect::<String>()).ok()?;
            let before = ids.len();
            ids.extend(tokens.iter().map(|token| token.id));
            cache.insert(word, &ids[before..]);
        }
        Some(())
    }
}

/// What the tokenizer's normalizer makes of a part of a text; NFC leaves ASCII as it is.
fn normalized<'a>(inner: &Tokenizer, part: &'a str) -> Cow<'a, str> {
    match inner.get_normalizer() {
        Some(normalizer) if !part.is_ascii() => {
            let mut text = NormalizedString::from(part);
            // The library passes over failures as well.
            let _ = normalizer.normalize(&mut text);
            Cow::Owned(text.get().to_owned())
        }
        _ => Cow::Borrowed(part),
    }
}

/// Bytes that print stand for themselves, the others for characters from U+0100 on.
fn alphabet() -> [char; 256] {
    let mut others = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(byte),
        _ => others.next().unwrap_or_default(),
    })
}
