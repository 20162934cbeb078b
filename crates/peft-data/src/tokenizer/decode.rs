//! Token ids back to text, all at once or one by one as they are generated.

use super::TextTokenizer;
use super::guard::guarded;
use crate::error::DataError;

/// Tokens held back at most while they do not form a whole character: no character takes more.
const HELD: usize = 4;
const REPLACEMENT: char = '\u{FFFD}';

impl TextTokenizer {
    /// The text of token ids; `skip_special` leaves special tokens out.
    ///
    /// # Errors
    /// [`DataError::Encode`] if the tokenizer library fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        guarded(|| self.inner.decode(ids, skip_special)).map_err(|problem| DataError::Encode {
            text: format!("{} token ids", ids.len()),
            problem,
        })
    }

    /// Decodes ids one by one.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream {
            tokenizer: self,
            skip_special,
            ids: Vec::new(),
            shown: String::new(),
            held: 0,
        }
    }
}

/// Text of ids that come one by one: characters whose bytes are spread over several tokens come
/// when they are whole, and word pieces with the space that stands before them.
///
/// ```
/// # fn show(tokenizer: &peft_data::TextTokenizer, ids: &[u32]) -> Result<(), peft_data::DataError> {
/// let mut stream = tokenizer.decode_stream(true);
/// for &id in ids {
///     print!("{}", stream.push(id)?);
/// }
/// println!("{}", stream.finish()?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a TextTokenizer,
    skip_special: bool,
    /// The tokens shown last, which decide about a space before the next, and those held back.
    ids: Vec<u32>,
    /// Text of the former, which was given out already.
    shown: String,
    held: usize,
}

impl DecodeStream<'_> {
    /// The text that a further id completes; empty while a character lacks bytes.
    ///
    /// # Errors
    /// [`DataError::Encode`] if the tokenizer library fails.
    pub fn push(&mut self, id: u32) -> Result<String, DataError> {
        self.ids.push(id);
        self.held += 1;
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        // A character that is really U+FFFD must not hold the rest back.
        if text.ends_with(REPLACEMENT) && self.held < HELD {
            return Ok(String::new());
        }
        self.give(&text)
    }

    /// What was held back, at the end of the ids.
    ///
    /// # Errors
    /// As [`DecodeStream::push`].
    pub fn finish(mut self) -> Result<String, DataError> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        self.give(&text)
    }

    fn give(&mut self, text: &str) -> Result<String, DataError> {
        // A decoder that rewrites what it said before cannot take it back here: what differs is
        // given out again.
        let same = text.chars().zip(self.shown.chars());
        let same = same.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8());
        let new = text[same.sum::<usize>()..].to_owned();
        if !new.is_empty() {
            self.ids.drain(..self.ids.len() - self.held);
            self.held = 0;
            self.shown = self.tokenizer.decode(&self.ids, self.skip_special)?;
        }
        Ok(new)
    }
}
