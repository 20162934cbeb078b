//! Thrift's compact protocol, as far as Parquet's metadata uses it.
//!
//! Fields are visited in place: nothing is allocated for what nobody asks for, so that a hostile
//! footer costs no more than its own size.

use super::Problem;

/// Structs within structs beyond any that Parquet has.
const MAX_DEPTH: u8 = 16;

pub(crate) const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Why bytes could not be read: they end too early, or make no sense.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// More bytes may help.
    End,
    /// Nothing will.
    Broken(&'static str),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::End => "the metadata end too early".into(),
            Fault::Broken(what) => format!("the metadata are broken: {what}").into(),
        }
    }
}

type Read<T> = Result<T, Fault>;

/// A place in encoded bytes.
pub(crate) struct Thrift<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
    depth: u8,
}

impl<'a> Thrift<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let (at, depth) = (0, 0);
        Self { bytes, at, depth }
    }

    fn byte(&mut self) -> Read<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::End)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::Broken("a number has too many bytes"))
    }

    fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| Fault::End)?;
        let end = self.at.checked_add(count).ok_or(Fault::End)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::End)?;
        self.at = end;
        Ok(taken)
    }

    /// An integer of the kind that was announced.
    pub(crate) fn int(&mut self, kind: u8) -> Read<i64> {
        match kind {
            BYTE => Ok(i64::from(self.byte()? as i8)),
            I16 | I32 | I64 => {
                let raw = self.varint()?;
                Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
            }
            _ => Err(Fault::Broken("expected a number")),
        }
    }

    /// An integer that fits 32 bits and is not negative.
    pub(crate) fn size(&mut self, kind: u8) -> Read<u32> {
        u32::try_from(self.int(kind)?).map_err(|_| Fault::Broken("a size is negative or too large"))
    }

    /// A string or bytes.
    pub(crate) fn binary(&mut self, kind: u8) -> Read<&'a [u8]> {
        if kind != BINARY {
            return Err(Fault::Broken("expected a string"));
        }
        let length = self.varint()?;
        self.take(length)
    }

    pub(crate) fn string(&mut self, kind: u8) -> Read<&'a str> {
        std::str::from_utf8(self.binary(kind)?).map_err(|_| Fault::Broken("a name is not UTF-8"))
    }

    /// Visits the fields of a struct: `visit` reads the field and says true, or leaves it unread.
    pub(crate) fn fields(
        &mut self,
        mut visit: impl FnMut(&mut Self, i16, u8) -> Read<bool>,
    ) -> Read<()> {
        self.enter()?;
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0F;
            if kind == 0 {
                break;
            }
            id = match head >> 4 {
                0 => self.int(I16)? as i16,
                delta => id.wrapping_add(i16::from(delta)),
            };
            if !visit(self, id, kind)? {
                self.skip(kind, false)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Visits the fields of a struct that is a field of the kind announced.
    pub(crate) fn structure(
        &mut self,
        kind: u8,
        visit: impl FnMut(&mut Self, i16, u8) -> Read<bool>,
    ) -> Read<()> {
        match kind {
            STRUCT => self.fields(visit),
            _ => Err(Fault::Broken("expected a struct")),
        }
    }

    /// Visits the structs of a list.
    pub(crate) fn structs(
        &mut self,
        kind: u8,
        mut each: impl FnMut(&mut Self) -> Read<()>,
    ) -> Read<()> {
        if kind != LIST {
            return Err(Fault::Broken("expected a list"));
        }
        let (count, element) = self.list_head()?;
        if count > 0 && element != STRUCT {
            return Err(Fault::Broken("expected a list of structs"));
        }
        (0..count).try_for_each(|_| each(self))
    }

    fn list_head(&mut self) -> Read<(u64, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Ok((count, head & 0x0F))
    }

    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(Fault::Broken("structs are nested too deeply")),
            false => Ok(()),
        }
    }

    /// Passes over a value. Within a list a boolean has a byte of its own; as a field it has none.
    fn skip(&mut self, kind: u8, element: bool) -> Read<()> {
        match kind {
            TRUE | FALSE if !element => {}
            TRUE | FALSE | BYTE => drop(self.byte()?),
            I16 | I32 | I64 => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => drop(self.binary(kind)?),
            LIST | SET => {
                self.enter()?;
                let (count, inner) = self.list_head()?;
                for _ in 0..count {
                    self.skip(inner, true)?;
                }
                self.depth -= 1;
            }
            MAP => {
                self.enter()?;
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.skip(kinds >> 4, true)?;
                    self.skip(kinds & 0x0F, true)?;
                }
                self.depth -= 1;
            }
            STRUCT => self.fields(|_, _, _| Ok(false))?,
            _ => return Err(Fault::Broken("a value of unknown kind")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_visited_and_the_rest_skipped() {
        // 1: i32 -3; 2: list of two i32; 4: true; 5: "ab"; stop
        let bytes = [0x15, 5, 0x19, 0x25, 2, 4, 0x21, 0x18, 2, b'a', b'b', 0];
        let mut seen = Vec::new();
        let mut thrift = Thrift::new(&bytes);
        let read = thrift.fields(|t, id, kind| {
            seen.push((id, kind));
            match id {
                1 => assert_eq!(t.int(kind)?, -3),
                5 => assert_eq!(t.string(kind)?, "ab"),
                _ => return Ok(false),
            }
            Ok(true)
        });
        assert_eq!(read, Ok(()));
        assert_eq!(seen, [(1, I32), (2, LIST), (4, TRUE), (5, BINARY)]);
        assert_eq!(thrift.at, bytes.len());
    }

    #[test]
    fn what_is_cut_or_endless_is_refused() {
        let skip = |bytes: &[u8]| Thrift::new(bytes).fields(|_, _, _| Ok(false));
        assert_eq!(skip(&[0x15]), Err(Fault::End));
        assert_eq!(skip(&[0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), Err(Fault::End));
        assert!(matches!(skip(&[0x1C; 40]), Err(Fault::Broken(_))));
        assert!(matches!(
            skip(&[
                0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF
            ]),
            Err(Fault::Broken(_))
        ));
        // A list of 2^63 booleans ends with the bytes.
        assert_eq!(
            skip(&[0x19, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
            Err(Fault::End)
        );
    }
}
