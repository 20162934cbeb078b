//! Blocks of 32 elements: the low nibbles are elements 0 to 15, the high ones 16 to 31.
//!
//! Every loop is over 32 codes, which compilers make into vectors: loops over 16 they unroll first, and then it is too late.

use crate::floats::widen_half;

/// The half float at byte `at`.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    widen_half(u16::from_le_bytes([block[at], block[at + 1]]))
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

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let (d, bytes) = (half(block, 0), twice(block, 2));
    for (element, out) in out.iter_mut().enumerate() {
        let q = nibble(bytes[element], element);
        *out = d * (i32::from(q) - 8) as f32;
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m, bytes) = (half(block, 0), half(block, 2), twice(block, 4));
    for (element, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(bytes[element], element)) + m;
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, codes) = (half(block, 0), five(block, 2));
    for (out, q) in out.iter_mut().zip(codes) {
        *out = d * (i32::from(q) - 16) as f32;
    }
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, codes) = (half(block, 0), half(block, 2), five(block, 4));
    for (out, q) in out.iter_mut().zip(codes) {
        *out = d * f32::from(q) + m;
    }
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(block, 0);
    let codes: [u8; 32] = bits(&block[2..], 0, 255);
    for (out, q) in out.iter_mut().zip(codes) {
        *out = d * f32::from(q as i8);
    }
}
