//! Blocks of 32 elements: the low nibbles are elements 0 to 15, the high ones 16 to 31.
//!
//! Every loop is over 32 codes, which compilers make into vectors: loops over 16 they unroll first, and then it is too late.

use crate::floats;

/// The half float at byte `at`.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    let bytes = block[at..].first_chunk().expect("two bytes");
    floats::half(u16::from_le_bytes(*bytes))
}

/// `(byte >> shift) & mask` of each byte; `mask` has no bit that a shift brings in from the next byte.
#[inline(always)]
pub(super) fn bits<const N: usize>(bytes: &[u8], shift: usize, mask: u8) -> [u8; N] {
    let mask = u64::from_ne_bytes([mask; 8]);
    let mut out = [0; N];
    let words = bytes.as_chunks::<8>().0;
    for (word, out) in words.iter().zip(out.as_chunks_mut::<8>().0) {
        *out = (u64::from_le_bytes(*word) >> shift & mask).to_le_bytes();
    }
    out
}

/// The bytes of the codes of 4 bits from byte `at` on, twice.
#[inline(always)]
fn twice(block: &[u8], at: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&block[at..at + 16]);
    bytes[16..].copy_from_slice(&block[at..at + 16]);
    bytes
}

/// The code of an element in its byte of [`twice`].
#[inline(always)]
fn nibble(byte: u8, element: usize) -> u8 {
    byte >> (if element < 16 { 0 } else { 4 }) & 15
}

/// The codes of 5 bits: nibbles from byte `at + 4` on, their fifth bits in the word at byte `at`.
#[inline(always)]
fn five(block: &[u8], at: usize) -> [u8; 32] {
    let high = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let mut codes = twice(block, at + 4);
    for (element, code) in codes.iter_mut().enumerate() {
        *code = nibble(*code, element) | ((high >> element & 1) as u8) << 4;
    }
    codes
}

/// Decodes blocks of `$bytes` bytes, as many as both slices have room for; element `$i` of a block is `$element`, by its code of
/// `$codes`, the block's scale `$d` and, if there are two halves, its minimum `$m`.
///
/// Not a function that is given closures: what is called through them would not be a part of the caller.
macro_rules! decoder {
    ($name:ident, $bytes:literal, $halves:literal, |$block:ident| $codes:expr, |$i:ident, $code:ident, $d:ident, $m:ident| $element:expr) => {
        #[inline(always)]
        pub(super) fn $name(bytes: &[u8], out: &mut [f32]) {
            let (blocks, outs) = (bytes.as_chunks::<$bytes>().0, out.as_chunks_mut::<32>().0);
            for ($block, out) in blocks.iter().zip(outs) {
                let ($d, $m) = (half($block, 0), half($block, 2 * ($halves - 1)));
                let codes: [u8; 32] = $codes;
                for ($i, out) in out.iter_mut().enumerate() {
                    let $code = codes[$i];
                    *out = $element;
                }
            }
        }
    };
}

decoder!(q4_0, 18, 1, |block| twice(block, 2), |i, code, d, _m| d
    * (i32::from(nibble(code, i)) - 8) as f32);
decoder!(q4_1, 20, 2, |block| twice(block, 4), |i, code, d, m| d
    * f32::from(nibble(code, i))
    + m);
decoder!(q5_0, 22, 1, |block| five(block, 2), |_i, code, d, _m| d
    * (i32::from(code) - 16) as f32);
decoder!(q5_1, 24, 2, |block| five(block, 4), |_i, code, d, m| d
    * f32::from(code)
    + m);
decoder!(
    q8_0,
    34,
    1,
    |block| bits(&block[2..], 0, 255),
    |_i, code, d, _m| d * f32::from(code as i8)
);
