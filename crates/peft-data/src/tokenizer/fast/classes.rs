//! What kind of character each code point is, to the patterns that cut texts into words.

use regex_syntax::hir::{Class as Set, HirKind};

/// As the patterns tell characters apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// None of the others: `[^\s\p{L}\p{N}]`.
    Other,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\s`.
    Space,
    /// A word of its own, before which texts end as far as the pattern can see.
    Alone,
}

/// Code points a page.
const PAGE: usize = 256;

/// The classes of all code points. Those of a page are stored once, however many pages have the same.
pub(super) struct Classes {
    ascii: [Class; 128],
    pages: Vec<u8>,
    cells: Vec<[Class; PAGE]>,
}

impl Classes {
    /// `alone` says which characters are words of their own. `None` if the regex library knows none of the classes.
    pub(super) fn new(alone: impl Fn(char) -> bool) -> Option<Self> {
        let mut all = vec![Class::Other; char::MAX as usize + 1];
        let sets = [
            (r"\p{L}", Class::Letter),
            (r"\p{N}", Class::Number),
            (r"\s", Class::Space),
        ];
        for (pattern, class) in sets {
            let parsed = regex_syntax::parse(pattern).ok()?;
            let HirKind::Class(Set::Unicode(set)) = parsed.kind() else {
                return None;
            };
            for range in set.ranges() {
                all[range.start() as usize..=range.end() as usize].fill(class);
            }
        }
        for char in (char::MIN..=char::MAX).filter(|&char| alone(char)) {
            all[char as usize] = Class::Alone;
        }
        let (mut pages, mut cells) = (Vec::new(), Vec::<[Class; PAGE]>::new());
        for page in all.chunks_exact(PAGE) {
            let known = cells.iter().position(|cell| cell == page);
            pages.push(u8::try_from(known.unwrap_or(cells.len())).ok()?);
            if known.is_none() {
                cells.push(page.try_into().ok()?);
            }
        }
        Some(Self {
            ascii: std::array::from_fn(|at| all[at]),
            pages,
            cells,
        })
    }

    pub(super) fn of(&self, char: char) -> Class {
        let at = char as usize;
        self.cells[usize::from(self.pages[at / PAGE])][at % PAGE]
    }

    /// The class of the character at a place and where the next one begins; `None` at the end.
    #[inline]
    pub(super) fn at(&self, text: &str, at: usize) -> Option<(Class, usize)> {
        match *text.as_bytes().get(at)? {
            byte @ 0..128 => Some((self.ascii[usize::from(byte)], at + 1)),
            _ => {
                let char = text[at..].chars().next()?;
                Some((self.of(char), at + char.len_utf8()))
            }
        }
    }
}
