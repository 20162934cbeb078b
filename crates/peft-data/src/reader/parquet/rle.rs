//! The hybrid of run lengths and bit packing that levels and dictionary indices are stored in.

use super::Problem;
use std::ops::Range;

/// Reads numbers one at a time from a part of a page.
#[derive(Debug)]
pub(crate) struct Rle {
    at: usize,
    end: usize,
    width: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Run { value: u32, left: u64 },
    Packed { bit: u64, left: u64 },
}

impl Rle {
    /// Numbers of `width` bits (32 at most) in a part of a page.
    pub(crate) fn new(part: Range<usize>, width: u32) -> Result<Self, Problem> {
        if width > 32 {
            return Err(format!("numbers of {width} bits").into());
        }
        let state = State::Run { value: 0, left: 0 };
        Ok(Self {
            at: part.start,
            end: part.end,
            width,
            state,
        })
    }

    /// The next number.
    pub(crate) fn next(&mut self, page: &[u8]) -> Result<u32, Problem> {
        loop {
            match &mut self.state {
                State::Run { value, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*value);
                }
                State::Packed { bit, left } if *left > 0 => {
                    let value = bits(page, self.end, *bit, self.width).ok_or(ENDS)?;
                    *left -= 1;
                    *bit += u64::from(self.width);
                    if *left == 0 {
                        self.at = bit.div_ceil(8) as usize;
                    }
                    return Ok(value as u32);
                }
                _ => self.run(page)?,
            }
        }
    }

    fn run(&mut self, page: &[u8]) -> Result<(), Problem> {
        let page = page.get(..self.end).ok_or(ENDS)?;
        let head = varint(page, &mut self.at).ok_or(ENDS)?;
        let count = head >> 1;
        if count == 0 {
            // Nothing would come of it, and a page of such runs would only cost time.
            return Err("a run of no values".into());
        }
        self.state = match head & 1 {
            0 => {
                let bytes = self.width.div_ceil(8) as usize;
                let end = self.at + bytes;
                let raw = page.get(self.at..end).ok_or(ENDS)?;
                self.at = end;
                let value = raw.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
                let value = u32::try_from(value).map_err(|_| "a run's value is too large")?;
                State::Run { value, left: count }
            }
            _ => State::Packed {
                bit: self.at as u64 * 8,
                left: count.saturating_mul(8),
            },
        };
        Ok(())
    }
}

const ENDS: &str = "the values end too early";

/// `width` bits from bit `bit` on, least significant first; at most 64.
pub(crate) fn bits(page: &[u8], end: usize, bit: u64, width: u32) -> Option<u64> {
    if width == 0 {
        return Some(0);
    }
    let first = usize::try_from(bit / 8).ok()?;
    let shift = (bit % 8) as u32;
    let bytes = (shift + width).div_ceil(8) as usize;
    let raw = page.get(first..first.checked_add(bytes)?.min(page.len()))?;
    if raw.len() < bytes || first + bytes > end {
        return None;
    }
    let wide = raw.iter().rev().fold(0u128, |v, b| v << 8 | u128::from(*b));
    let mask = (1u128 << width) - 1;
    Some(((wide >> shift) & mask) as u64)
}

/// A variable-length number, moving `at` behind it.
pub(crate) fn varint(page: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *page.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_groups_alternate() {
        // Eight packed numbers 0..8 of three bits (the format's own example), then three sevens.
        let page = [0x03, 0x88, 0xC6, 0xFA, 0x06, 0x07];
        let mut rle = Rle::new(0..page.len(), 3).unwrap();
        let got: Vec<u32> = (0..11).map(|_| rle.next(&page).unwrap()).collect();
        assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7]);
        assert!(rle.next(&page).is_err());
        assert!(Rle::new(0..0, 33).is_err());
        assert!(Rle::new(0..1, 1).unwrap().next(&[0]).is_err());
    }
}
