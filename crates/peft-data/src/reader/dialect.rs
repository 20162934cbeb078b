//! What separates fields, and how they are quoted.

use crate::error::{DataError, shorten};
use crate::format::Format;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The character between the fields of a line.
///
/// Written as itself, or as `tab`, `comma`, `semicolon`, `pipe` or `space`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delimiter(char);

impl Delimiter {
    /// The character.
    pub fn char(self) -> char {
        self.0
    }
}

impl FromStr for Delimiter {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let named = match text.to_lowercase().as_str() {
            "tab" | "\\t" => Some('\t'),
            "comma" => Some(','),
            "semicolon" => Some(';'),
            "pipe" | "bar" => Some('|'),
            "space" => Some(' '),
            _ => None,
        };
        let mut chars = text.chars();
        let one = chars.next().filter(|_| chars.next().is_none());
        let usable = |c: &char| !matches!(c, '"' | '\n' | '\r');
        let found = named.or(one).filter(usable);
        found.map(Self).ok_or_else(|| DataError::Unsupported {
            what: format!("`{}` cannot separate fields", shorten(text)),
            fix: "give one character that is neither a quote nor a line feed, or tab, comma, \
                  semicolon, pipe or space",
        })
    }
}

impl TryFrom<String> for Delimiter {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> Self {
        delimiter.0.to_string()
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\t' => f.write_str("a tab"),
            other => write!(f, "`{other}`"),
        }
    }
}

/// How fields are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// As RFC 4180 says.
    Standard,
    /// Field by field, as it fits.
    Guessed,
}

/// How the lines of a file are to be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: char,
    pub(crate) quoting: Quoting,
}

impl Dialect {
    /// What a file is most likely written in, by its format and first line.
    ///
    /// A header without the format's own delimiter, but with another of the usual ones, is separated
    /// by that: spreadsheets write semicolons where the comma is in numbers. Whoever says what the
    /// delimiter is, or that there is no header, is believed.
    pub(crate) fn of(
        format: Format,
        delimiter: Option<Delimiter>,
        header: bool,
        first: &str,
    ) -> Self {
        let usual = match format {
            Format::Tsv => '\t',
            _ => ',',
        };
        let delimiter = match delimiter {
            Some(given) => given.char(),
            None if header => sniffed(usual, first),
            None => usual,
        };
        let all_quoted = first.split(delimiter).all(|field| {
            let field = field.trim();
            field.len() > 1 && field.starts_with('"') && field.ends_with('"')
        });
        let bare = format == Format::Tsv && delimiter == '\t' && !all_quoted;
        Self {
            delimiter,
            quoting: match bare {
                true => Quoting::Guessed,
                false => Quoting::Standard,
            },
        }
    }
}

/// The delimiter of a header.
fn sniffed(usual: char, header: &str) -> char {
    let count = |wanted: char| {
        let mut quoted = false;
        let outside = header.chars().filter(|&c| {
            quoted ^= c == '"';
            c == wanted && !quoted
        });
        outside.count()
    };
    if count(usual) > 0 {
        return usual;
    }
    let others = [';', '\t', '|', ','].map(|c| (c, count(c)));
    let mut best = (usual, 0);
    for other in others {
        if other.1 > best.1 {
            best = other;
        }
    }
    best.0
}

/// The delimiter that spreadsheets write into a first line of its own: `sep=;`.
pub(crate) fn declared(line: &str) -> Option<Delimiter> {
    let rest = line.trim_end().strip_prefix("sep=")?;
    let mut chars = rest.chars();
    let one = chars.next().filter(|_| chars.next().is_none())?;
    (!one.is_alphanumeric() && one != '"').then_some(Delimiter(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_what_separates_them() {
        let of = |format, first| Dialect::of(format, None, true, first);
        for (first, delimiter) in [
            ("text,label", ','),
            ("text;label", ';'),
            ("text|label", '|'),
            ("text\tlabel", '\t'),
            ("text", ','),
            ("\"a;b\",label", ','),
            ("\"a,b\";label", ';'),
        ] {
            assert_eq!(of(Format::Csv, first).delimiter, delimiter, "{first}");
        }
        assert_eq!(of(Format::Tsv, "text,label").delimiter, ',');
        assert_eq!(of(Format::Tsv, "a, b\tlabel").delimiter, '\t');
        // Without a header the first line is a text like others.
        let rows = Dialect::of(Format::Csv, None, false, "so; it; goes");
        assert_eq!(rows.delimiter, ',');
        let tabs = of(Format::Tsv, "text\tlabel");
        assert_eq!(tabs.quoting, Quoting::Guessed);
        let r = of(Format::Tsv, "\"text\"\t\"label\"");
        assert_eq!(r.quoting, Quoting::Standard);
        assert_eq!(declared("sep=;\r\n"), Some(Delimiter(';')));
        assert_eq!(declared("sep=label"), None);
    }

    #[test]
    fn delimiters_have_names() {
        for (text, char) in [
            ("tab", '\t'),
            ("\\t", '\t'),
            ("\t", '\t'),
            (";", ';'),
            ("Pipe", '|'),
        ] {
            assert_eq!(text.parse::<Delimiter>().unwrap().char(), char);
        }
        for bad in ["", "\"", "\n", "ab"] {
            assert!(bad.parse::<Delimiter>().is_err(), "{bad}");
        }
    }
}
