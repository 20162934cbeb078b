//! Plain text, line by line, to documents.

use super::encode::Example;
use super::options::SampleBy;

/// A document is handed on in parts of about this many bytes, so that memory does not grow with it.
const PART_BYTES: usize = 64 << 10;
/// From here on a part ends at the next line, wherever that is.
const MOST_BYTES: usize = 1 << 20;

/// Gathers lines.
#[derive(Debug)]
pub(crate) struct Documents {
    by: SampleBy,
    end: bool,
    text: String,
    /// Row and line of the text's first line; `None` before it.
    place: Option<(u64, u64)>,
    /// Whether a part of the text was handed on.
    begun: bool,
    part_bytes: usize,
}

impl Documents {
    /// `end` says whether the token that ends a text follows each.
    pub(crate) fn new(by: SampleBy, end: bool) -> Self {
        Self {
            by,
            end,
            text: String::new(),
            place: None,
            begun: false,
            part_bytes: PART_BYTES,
        }
    }

    /// Adds a line without its end; what it completes.
    pub(crate) fn line(&mut self, line: &str, place: (u64, u64)) -> Option<Example> {
        let blank = line.trim().is_empty();
        match self.by {
            SampleBy::Line if blank => None,
            SampleBy::Line => Some(Example::text(line.to_owned(), place, self.end)),
            SampleBy::Paragraph if blank => self.finish(),
            SampleBy::Paragraph | SampleBy::Document => self.join(line, place),
        }
    }

    fn join(&mut self, line: &str, place: (u64, u64)) -> Option<Example> {
        if self.place.is_none() {
            self.place = Some(place);
            self.text.push_str(line);
            return None;
        }
        self.text.push('\n');
        // Between two lines, neither of which has a space at the border, every pre-tokenizer of the
        // field parts words anyhow: the tokens are those of the undivided text.
        let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let before = self.text.chars().nth_back(1);
        let part =
            (self.text.len() >= self.part_bytes && solid(before) && solid(line.chars().next()))
                || self.text.len() >= MOST_BYTES;
        let example = part.then(|| self.part(false));
        self.text.push_str(line);
        example
    }

    fn part(&mut self, ends: bool) -> Example {
        let begins = !std::mem::replace(&mut self.begun, !ends);
        let text = std::mem::take(&mut self.text);
        Example {
            begins,
            ends,
            end: self.end && ends,
            ..Example::text(text, self.place.unwrap_or_default(), false)
        }
    }

    /// What is left at the end of the lines.
    pub(crate) fn finish(&mut self) -> Option<Example> {
        self.place?;
        let blank = !self.begun && self.text.trim().is_empty();
        let example = self.part(true);
        self.place = None;
        (!blank).then_some(example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(by: SampleBy, part_bytes: usize, text: &str) -> Vec<(String, bool, bool)> {
        let mut documents = Documents {
            part_bytes,
            ..Documents::new(by, true)
        };
        let mut all: Vec<Example> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            all.extend(documents.line(line, (number, number)));
        }
        all.extend(documents.finish());
        let found = all.into_iter().map(|e| (e.text, e.begins, e.ends));
        found.collect()
    }

    #[test]
    fn lines_paragraphs_and_documents() {
        let text = "a\nb\n\n \n  c\n";
        let whole = |texts: &[&str]| -> Vec<_> {
            texts.iter().map(|t| (t.to_string(), true, true)).collect()
        };
        assert_eq!(texts(SampleBy::Line, 1, text), whole(&["a", "b", "  c"]));
        assert_eq!(
            texts(SampleBy::Paragraph, 99, text),
            whole(&["a\nb", "  c"])
        );
        assert_eq!(
            texts(SampleBy::Document, 99, text),
            whole(&["a\nb\n\n \n  c"])
        );
        assert_eq!(texts(SampleBy::Document, 99, "\n \n"), []);
    }

    #[test]
    fn long_documents_part_between_solid_lines_only() {
        let parts = texts(
            SampleBy::Document,
            4,
            "one\ntwo\n\nthree\n four \nfive\nsix\n",
        );
        let want = [
            ("one\n", true, false),
            ("two\n\nthree\n four \nfive\n", false, false),
            ("six", false, true),
        ];
        let want: Vec<_> = want.map(|(t, b, e)| (t.to_owned(), b, e)).into();
        assert_eq!(parts, want);
    }
}
