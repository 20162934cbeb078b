//! Token ids of words that have been met before.

use ahash::AHashMap;

/// Words of more bytes are rarely met again.
const MAX_WORD: usize = 64;
/// Words and tokens of a generation at most: a few megabytes.
const MAX_WORDS: usize = 1 << 15;
const MAX_TOKENS: usize = 1 << 17;

/// A word's tokens among all.
#[derive(Clone, Copy)]
struct Place {
    from: u32,
    count: u32,
}

#[derive(Default)]
struct Generation {
    words: AHashMap<Box<str>, Place>,
    tokens: Vec<u32>,
}

impl Generation {
    fn get(&self, word: &str) -> Option<&[u32]> {
        let place = self.words.get(word)?;
        let from = place.from as usize;
        self.tokens.get(from..from + place.count as usize)
    }
}

/// Bounded: when a generation is full, the one before it is forgotten. Words that are met again go on to the next.
#[derive(Default)]
pub(super) struct Cache {
    now: Generation,
    before: Generation,
}

impl Cache {
    /// Adds the tokens of a word, if it is known.
    pub(super) fn add_to(&mut self, ids: &mut Vec<u32>, word: &str) -> bool {
        if let Some(tokens) = self.now.get(word) {
            ids.extend_from_slice(tokens);
            return true;
        }
        let start = ids.len();
        let known = self
            .before
            .get(word)
            .map(|tokens| ids.extend_from_slice(tokens));
        if known.is_some() {
            self.insert(word, &ids[start..]);
        }
        known.is_some()
    }

    pub(super) fn insert(&mut self, word: &str, tokens: &[u32]) {
        if word.len() > MAX_WORD {
            return;
        }
        let now = &self.now;
        if now.words.len() == MAX_WORDS || now.tokens.len() + tokens.len() > MAX_TOKENS {
            self.before = std::mem::take(&mut self.now);
        }
        let place = Place {
            from: self.now.tokens.len() as u32,
            count: tokens.len() as u32,
        };
        self.now.tokens.extend_from_slice(tokens);
        self.now.words.insert(word.into(), place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bounds_and_gives_what_was_put_in() {
        let mut cache = Cache::default();
        let tokens = |number: u32| vec![number; number as usize % 9];
        let kept = |cache: &mut Cache, number: u32| {
            let mut ids = vec![7];
            let known = cache.add_to(&mut ids, &number.to_string());
            assert_eq!(ids[1..], tokens(if known { number } else { 0 }));
            known
        };
        for number in 0..4 * MAX_WORDS as u32 {
            cache.insert(&number.to_string(), &tokens(number));
            for part in [&cache.now, &cache.before] {
                assert!(part.words.len() <= MAX_WORDS && part.tokens.len() <= MAX_TOKENS);
            }
            assert!(kept(&mut cache, number));
            // Met again and again, it goes on from generation to generation.
            assert_eq!(kept(&mut cache, 5), number >= 5);
            kept(&mut cache, number / 2);
        }
        assert!(!kept(&mut cache, 12));
        let long = "a".repeat(MAX_WORD + 1);
        cache.insert(&long, &[1]);
        assert!(!cache.add_to(&mut Vec::new(), &long));
    }
}
