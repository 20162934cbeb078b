//! SentencePiece's `ModelProto`, as far as tokenizers are made of it.

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Text.
    Normal,
    /// What stands for text of no piece.
    Unknown,
    /// A mark that no text makes.
    Control,
    /// Text that is a piece whatever stands around it.
    UserDefined,
    /// A byte, or a piece out of use.
    Other,
}

/// A piece of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: PieceKind,
}

/// How texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
    Other,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    /// The pieces in the order of their ids.
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    /// The table of what characters become, if there is one.
    pub charsmap: Vec<u8>,
}

/// What is wrong with a file.
type Fault = String;

/// A value of a field.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// 32 bits.
    Fixed(u32),
}

/// Goes through the fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for (place, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * place as u32).min(63);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Ok(value);
            }
        }
        Err("a number does not end".into())
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(length).ok();
        let cut = length.and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = cut.ok_or("it ends within a field")?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field and its number.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Fault> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = self.number()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self
                    .take(4)?
                    .try_into()
                    .map_err(|_| "it ends within a field")?;
                Field::Fixed(u32::from_le_bytes(bytes))
            }
            other => {
                return Err(format!(
                    "a field is of type {other}, which there is none of"
                ));
            }
        };
        Ok(Some((key >> 3, field)))
    }
}

impl Model {
    /// Understands the bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            charsmap: Vec::new(),
        };
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => {
                    let piece = piece(bytes)
                        .map_err(|fault| format!("piece {}: {fault}", model.pieces.len()))?;
                    model.pieces.push(piece);
                }
                (2, Field::Bytes(bytes)) => model.algorithm = algorithm(bytes)?,
                (3, Field::Bytes(bytes)) => {
                    let mut fields = Fields(bytes);
                    while let Some((number, field)) = fields.next()? {
                        if let (2, Field::Bytes(bytes)) = (number, field) {
                            model.charsmap = bytes.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        match model.pieces.len() {
            0 => Err("it has no pieces".into()),
            _ => Ok(model),
        }
    }
}

fn algorithm(bytes: &[u8]) -> Result<Algorithm, Fault> {
    let mut found = Algorithm::Unigram;
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        if let (3, Field::Number(kind)) = (number, field) {
            found = match kind {
                1 => Algorithm::Unigram,
                2 => Algorithm::Bpe,
                _ => Algorithm::Other,
            };
        }
    }
    Ok(found)
}

fn piece(bytes: &[u8]) -> Result<Piece, Fault> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: PieceKind::Normal,
    };
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text).map_err(|_| "its text is not UTF-8")?;
                text.clone_into(&mut piece.text);
            }
            (2, Field::Fixed(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => {
                piece.kind = match kind {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    _ => PieceKind::Other,
                };
            }
            _ => {}
        }
    }
    match piece.score.is_finite() {
        true => Ok(piece),
        false => Err(format!("its score is {}", piece.score)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Vec<u8> {
        let mut bytes = Vec::new();
        // A piece "ab" of score -1.5 and kind 4, a trainer of BPE, and a table.
        bytes.extend([0x0a, 11, 0x0a, 2, b'a', b'b', 0x15]);
        bytes.extend((-1.5f32).to_le_bytes());
        bytes.extend([0x18, 4, 0x12, 2, 0x18, 2, 0x1a, 4, 0x12, 2, 7, 8]);
        bytes
    }

    #[test]
    fn fields_are_found() {
        let model = Model::parse(&example()).unwrap();
        let piece = Piece {
            text: "ab".into(),
            score: -1.5,
            kind: PieceKind::UserDefined,
        };
        assert_eq!(model.pieces, [piece]);
        assert_eq!(
            (model.algorithm, model.charsmap),
            (Algorithm::Bpe, vec![7, 8])
        );
        assert!(Model::parse(&[]).unwrap_err().contains("no pieces"));
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_no_panic(at in 0usize..30, to: u8, cut in 0usize..30) {
            let mut bytes = example();
            let at = at % bytes.len();
            bytes[at] = to;
            bytes.truncate(cut.max(1));
            let _ = Model::parse(&bytes);
        }

        #[test]
        fn noise_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = Model::parse(&bytes);
        }
    }
}
