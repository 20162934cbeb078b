//! Cuts texts into words as the patterns of GPT-2 and cl100k do, without a regex engine.

use super::classes::{Class, Classes};
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// cl100k's pattern with up to three digits a word, as Llama 3 has it.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As [`LLAMA3`], but every digit is a word.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `'s|'t|'re|'ve|'m|'ll|'d`; of the last two letters either may be the second.
const ENDINGS: [&str; 7] = ["s", "t", "re", "ve", "m", "ll", "d"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// [`LLAMA3`] and [`QWEN2`].
    Cl100k { digits: usize },
}

/// A known way to cut texts into words.
pub(super) struct Words {
    rule: Rule,
    classes: Classes,
}

impl Words {
    /// `None` for a pre-tokenizer that is not known to the last setting.
    pub(super) fn of(pre_tokenizer: &PreTokenizerWrapper) -> Option<Self> {
        use PreTokenizerWrapper::{ByteLevel, Digits, Sequence, Split};
        let bytes = |part: &PreTokenizerWrapper, regex: bool| matches!(part, ByteLevel(bytes) if !bytes.add_prefix_space && bytes.use_regex == regex);
        let (rule, alone) = match pre_tokenizer {
            whole @ ByteLevel(_) if bytes(whole, true) => (Rule::Gpt2, false),
            Sequence(parts) => match parts.as_ref() {
                [Digits(digits), last] if digits.individual_digits && bytes(last, true) => {
                    (Rule::Gpt2, true)
                }
                [Split(split), last] if bytes(last, false) => (rule_of(split)?, false),
                _ => return None,
            },
            _ => return None,
        };
        let classes = Classes::new(|char| alone && char.is_numeric())?;
        Some(Self { rule, classes })
    }

    /// Where the word ends that begins at a place within the text.
    #[inline]
    pub(super) fn end(&self, text: &str, from: usize) -> usize {
        let Some((class, next)) = self.classes.at(text, from) else {
            return text.len();
        };
        match self.rule {
            Rule::Gpt2 => self.gpt2(text, from, class, next),
            Rule::Cl100k { digits } => self.cl100k(text, from, class, next, digits),
        }
    }

    fn gpt2(&self, text: &str, from: usize, class: Class, next: usize) -> usize {
        match class {
            Class::Letter | Class::Number => self.run(text, next, class),
            Class::Alone => next,
            Class::Other => contraction(&text[from..], false)
                .map_or_else(|| self.run(text, next, class), |length| from + length),
            Class::Space => match self.classes.at(text, next) {
                Some((behind, after))
                    if text.as_bytes()[from] == b' '
                        && !matches!(behind, Class::Space | Class::Alone) =>
                {
                    self.run(text, after, behind)
                }
                _ => self.blanks(text, from).0,
            },
        }
    }

    fn cl100k(&self, text: &str, from: usize, class: Class, next: usize, digits: usize) -> usize {
        let first = text.as_bytes()[from];
        let behind = self.classes.at(text, next);
        match class {
            Class::Letter => return self.run(text, next, class),
            Class::Number => {
                let mut end = next;
                for _ in 1..digits {
                    match self.classes.at(text, end) {
                        Some((Class::Number, after)) => end = after,
                        _ => break,
                    }
                }
                return end;
            }
            Class::Other | Class::Space | Class::Alone => {}
        }
        if let Some(length) = contraction(&text[from..], true) {
            return from + length;
        }
        match behind {
            Some((Class::Letter, after)) if !matches!(first, b'\r' | b'\n') => {
                self.run(text, after, Class::Letter)
            }
            Some((Class::Other, after)) if first == b' ' => self.signs(text, after),
            _ if class != Class::Space => self.signs(text, next),
            _ => {
                let (end, run) = self.blanks(text, from);
                let broken = text.as_bytes()[from..run].iter();
                let line = broken.rev().position(|byte| matches!(byte, b'\r' | b'\n'));
                line.map_or(end, |behind| run - behind)
            }
        }
    }

    /// `[^\s\p{L}\p{N}]*[\r\n]*`
    fn signs(&self, text: &str, from: usize) -> usize {
        let end = self.run(text, from, Class::Other);
        let breaks = text.as_bytes()[end..].iter();
        end + breaks
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count()
    }

    /// The end of what `\s+(?!\S)|\s+` matches, and of all white space from there.
    fn blanks(&self, text: &str, from: usize) -> (usize, usize) {
        let (mut last, mut end) = (from, from);
        loop {
            match self.classes.at(text, end) {
                Some((Class::Space, next)) => (last, end) = (end, next),
                // The last blank belongs to the word behind it, if there is another.
                Some((Class::Letter | Class::Number | Class::Other, _)) if last > from => {
                    return (last, end);
                }
                _ => return (end, end),
            }
        }
    }

    /// Where characters of a class end.
    #[inline]
    fn run(&self, text: &str, mut from: usize, class: Class) -> usize {
        while let Some((found, next)) = self.classes.at(text, from)
            && found == class
        {
            from = next;
        }
        from
    }
}

fn rule_of(split: &Split) -> Option<Rule> {
    let SplitPattern::Regex(pattern) = &split.pattern else {
        return None;
    };
    if split.behavior != SplitDelimiterBehavior::Isolated || split.invert {
        return None;
    }
    match pattern.as_str() {
        LLAMA3 => Some(Rule::Cl100k { digits: 3 }),
        QWEN2 => Some(Rule::Cl100k { digits: 1 }),
        _ => None,
    }
}

/// The bytes of a contraction that a text begins with.
fn contraction(text: &str, any_case: bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    // The long s is an s to a pattern that does not tell cases apart.
    if any_case && rest.starts_with('ſ') {
        return Some(1 + 'ſ'.len_utf8());
    }
    let found = ENDINGS.iter().find(|ending| {
        let start = rest.as_bytes().get(..ending.len());
        start.is_some_and(|start| match any_case {
            true => start.eq_ignore_ascii_case(ending.as_bytes()),
            false => start == ending.as_bytes(),
        })
    });
    found.map(|ending| 1 + ending.len())
}
