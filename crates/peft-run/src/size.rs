//! Sizes of files, as people write them.

use std::{fmt, str::FromStr};

/// A number of bytes above 0, written as `5GB`, `500 MB`, `2GiB` or plainly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(u64);

/// Units: those of a thousand as Hugging Face's tools take them, and those of 1024.
const UNITS: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

impl ByteSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let unit = UNITS.iter().find(|(unit, _)| lower.ends_with(unit));
        let (number, factor) = match unit {
            Some((unit, factor)) => (&lower[..lower.len() - unit.len()], *factor),
            None => (lower.strip_suffix('b').unwrap_or(&lower), 1),
        };
        let bytes = match number.trim().parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor),
            Err(_) => {
                let part = number.trim().parse::<f64>().ok();
                let bytes = part.map(|part| part * factor as f64);
                let fits = |bytes: &f64| (0.0..u64::MAX as f64).contains(bytes);
                bytes.filter(fits).map(|bytes| bytes as u64)
            }
        };
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no size; write one such as 5GB, 500MB or 2GiB"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let large = UNITS.iter().skip(4).rev();
        for (unit, factor) in large {
            if self.0.is_multiple_of(*factor) {
                return write!(f, "{}{}", self.0 / factor, unit.to_ascii_uppercase());
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let of = |text: &str| text.parse().map(ByteSize::bytes);
        assert_eq!(of("5GB"), Ok(5_000_000_000));
        assert_eq!(of("500 mb"), Ok(500_000_000));
        assert_eq!(of("2GiB"), Ok(2 << 30));
        assert_eq!(of("1.5KB"), Ok(1500));
        assert_eq!(of("123"), Ok(123));
        assert_eq!(of("12B"), Ok(12));
        for wrong in [
            "",
            "GB",
            "0",
            "0.1",
            "-1GB",
            "5XB",
            "nan",
            "infGB",
            "99999999999TB",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        for text in ["5GB", "500MB", "123", "2TB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert!("b".parse::<ByteSize>().is_err());
    }
}
