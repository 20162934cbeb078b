//! The typed values of the metadata.

use super::cursor::Cursor;
use crate::error::Result;

/// The type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// An unsigned byte.
    U8,
    /// A signed byte.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, signed.
    I32,
    /// A 32-bit float.
    F32,
    /// True or false.
    Bool,
    /// Bytes that are usually UTF-8.
    String,
    /// Values of one type.
    Array,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, signed.
    I64,
    /// A 64-bit float.
    F64,
}

impl ValueType {
    /// In the order of their numbers in the file.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The number of this type in a file.
    pub(super) fn id(self) -> u32 {
        self as u32 // declared in the order of the numbers
    }

    /// The name of this type in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// The bytes of a value, of strings the fewest.
    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Array => 12,
        }
    }

    pub(super) fn read(cursor: &mut Cursor, place: &str) -> Result<Self> {
        let id = cursor.u32(place)?;
        match Self::ALL.get(id as usize) {
            Some(kind) => Ok(*kind),
            None => Err(cursor.corrupt(
                place,
                format!("expected a value type of 0 to 12, found {id}"),
            )),
        }
    }
}

/// A metadata value, borrowed from the mapped file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An integer of any of the unsigned types.
    Unsigned(u64),
    /// An integer of any of the signed types.
    Signed(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// Bytes that are usually UTF-8.
    String(&'a [u8]),
    /// Values of one type.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The value as an integer that is not negative, whatever integer type it has.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Unsigned(v) => Some(v),
            Self::Signed(v) => u64::try_from(v).ok(),
            _ => None,
        }
    }

    /// The value as a float; integers are none.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::F32(v) => Some(f64::from(v)),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The value as text; `None` if it is no string or not UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Reads a value of a known type.
    pub(super) fn read(cursor: &mut Cursor<'a>, kind: ValueType, place: &str) -> Result<Self> {
        if kind == ValueType::String {
            return Ok(Self::String(cursor.string(place)?));
        }
        if kind == ValueType::Array {
            return Ok(Self::Array(Array::read(cursor, place)?));
        }
        let bytes = cursor.take(kind.size(), place)?;
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Ok(match kind {
            ValueType::I8 => Self::Signed(i64::from(bits as i8)),
            ValueType::I16 => Self::Signed(i64::from(bits as i16)),
            ValueType::I32 => Self::Signed(i64::from(bits as i32)),
            ValueType::I64 => Self::Signed(bits as i64),
            ValueType::F32 => Self::F32(f32::from_bits(bits as u32)),
            ValueType::F64 => Self::F64(f64::from_bits(bits)),
            ValueType::Bool if bits > 1 => {
                let reason = format!("expected a bool of 0 or 1, found {bits}");
                return Err(cursor.corrupt(place, reason));
            }
            ValueType::Bool => Self::Bool(bits == 1),
            _ => Self::Unsigned(bits),
        })
    }
}

/// An array of the metadata, decoded as it is walked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    kind: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The type of its values.
    pub fn kind(&self) -> ValueType {
        self.kind
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut cursor = Cursor::new("".as_ref(), self.bytes);
        let kind = self.kind;
        // Every value was read once when the file was opened, so none is missing.
        (0..self.len).map_while(move |_| Value::read(&mut cursor, kind, "").ok())
    }

    fn read(cursor: &mut Cursor<'a>, place: &str) -> Result<Self> {
        let kind = ValueType::read(cursor, place)?;
        if kind == ValueType::Array {
            return Err(cursor.corrupt(place, "arrays of arrays are not part of the format"));
        }
        let len = cursor.count(kind.size(), "values", place)?;
        let rest = cursor.clone();
        let start = cursor.position();
        if matches!(kind, ValueType::String | ValueType::Bool) {
            for _ in 0..len {
                Value::read(cursor, kind, place)?;
            }
        } else {
            cursor.take(len * kind.size(), place)?; // bounded by the room for so many
        }
        let bytes = rest.clone().take(cursor.position() - start, place)?;
        Ok(Self { kind, len, bytes })
    }
}
