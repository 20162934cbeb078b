//! Added tokens, which are found in a text before it is taken apart.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::Tokenizer;

/// Finds tokens as the library does: at each place the longest, from left to right.
pub(super) struct Added {
    finder: Option<AhoCorasick>,
    /// By pattern; `None` for tokens that take blanks around them or have to be whole words, which are the library's to place.
    ids: Vec<Option<u32>>,
}

impl Added {
    /// Those that are looked for in the normalised text, or the others.
    pub(super) fn of(inner: &Tokenizer, normalized: bool) -> Option<Self> {
        let vocabulary = inner.get_added_vocabulary();
        let (mut patterns, mut ids) = (Vec::new(), Vec::new());
        for (&id, token) in vocabulary.get_added_tokens_decoder() {
            if token.normalized != normalized {
                continue;
            }
            // A normalised token's text is that here, too.
            patterns.push(match normalized {
                true => vocabulary.simple_id_to_token(id)?,
                false => token.content.clone(),
            });
            ids.push((!token.lstrip && !token.rstrip && !token.single_word).then_some(id));
        }
        let finder = match patterns.is_empty() {
            true => None,
            false => {
                let mut builder = AhoCorasick::builder();
                builder.match_kind(MatchKind::LeftmostLongest);
                Some(builder.build(patterns).ok()?)
            }
        };
        Some(Self { finder, ids })
    }

    /// Hands out what is between the tokens, which are added to `ids`. `None` as soon as a token is found that is the
    /// library's to place, or `between` gives up.
    pub(super) fn split(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        mut between: impl FnMut(&str, &mut Vec<u32>) -> Option<()>,
    ) -> Option<()> {
        let mut from = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            let id = self.ids[found.pattern()]?;
            between(&text[from..found.start()], ids)?;
            ids.push(id);
            from = found.end();
        }
        between(&text[from..], ids)
    }
}
