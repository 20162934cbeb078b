//! Tokens together with their places in the text.

use super::guard::guarded;
use super::{TextTokenizer, placeless};
use crate::error::{DataError, shorten};
use std::ops::Range;

/// Token ids and the bytes of the text that each stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned {
    pub(crate) ids: Vec<u32>,
    /// `None` for tokens that the tokenizer adds.
    pub(crate) places: Vec<Option<Range<usize>>>,
}

impl TextTokenizer {
    /// The ids of a whole text; `special` adds the tokenizer's own special tokens, which a text that
    /// a chat template made has already.
    ///
    /// # Errors
    /// [`DataError::Encode`] if the tokenizer fails.
    pub fn encode_whole(&self, text: &str, special: bool) -> Result<Vec<u32>, DataError> {
        let ids = guarded(|| {
            let encoding = match self.fast_ids(text) {
                Some(ids) if self.inner.get_post_processor().is_none() => return Ok(ids),
                Some(ids) => self.inner.post_process(placeless(ids), None, special),
                None => self.inner.encode_fast(text, special),
            };
            encoding.map(|encoding| encoding.get_ids().to_vec())
        });
        ids.map_err(|problem| DataError::Encode {
            text: shorten(text),
            problem,
        })
    }

    /// As [`TextTokenizer::encode_whole`], with places.
    pub(crate) fn encode_spanned(&self, text: &str, special: bool) -> Result<Spanned, DataError> {
        let encoding = guarded(|| self.inner.encode(text, special));
        let encoding = encoding.map_err(|problem| DataError::Encode {
            text: shorten(text),
            problem,
        })?;
        let mut end = 0;
        let offsets = encoding.get_offsets().iter();
        let places =
            offsets
                .zip(encoding.get_special_tokens_mask())
                .map(|(&(from, to), &added)| {
                    if added != 0 {
                        return None;
                    }
                    // Byte-level tokenizers take spaces off the offsets: of a token of nothing else
                    // remains a point, which stands for all since the token before.
                    let from = if from == to { end.min(from) } else { from };
                    end = to;
                    Some(from..to)
                });
        Ok(Spanned {
            places: places.collect(),
            ids: encoding.get_ids().to_vec(),
        })
    }
}

impl Spanned {
    /// Which tokens overlap which of the spans, which must be in order and apart: for each span the
    /// range of its tokens, empty where it has none.
    pub(crate) fn tokens_of(&self, spans: &[Range<usize>]) -> Vec<Range<usize>> {
        let overlaps = |place: &Option<Range<usize>>, span: &Range<usize>| {
            place
                .as_ref()
                .is_some_and(|p| p.start < span.end && p.end > span.start)
        };
        let mut first = 0;
        let mut found = Vec::with_capacity(spans.len());
        for span in spans {
            // A token may overlap the end of one span and the beginning of the next.
            while first < self.places.len()
                && self.places[first]
                    .as_ref()
                    .is_none_or(|p| p.end <= span.start)
            {
                first += 1;
            }
            let tokens = self.places[first..].iter();
            let count = tokens.take_while(|place| overlaps(place, span)).count();
            found.push(first..first + count);
        }
        found
    }
}
