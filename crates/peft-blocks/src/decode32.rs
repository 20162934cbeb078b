//! Blocks of 32 elements: the low nibbles are elements 0 to 15, the high ones 16 to 31.

use crate::floats::widen_half;

/// The half float at byte `at`.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    widen_half(u16::from_le_bytes([block[at], block[at + 1]]))
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for j in 0..16 {
        let byte = block[2 + j];
        out[j] = d * (i32::from(byte & 15) - 8) as f32;
        out[j + 16] = d * (i32::from(byte >> 4) - 8) as f32;
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for j in 0..16 {
        let byte = block[4 + j];
        out[j] = d * f32::from(byte & 15) + m;
        out[j + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The codes of 5 bits: nibbles from byte `at + 4` on, their fifth bits in the word at byte `at`.
#[inline(always)]
fn five(block: &[u8], at: usize, mut put: impl FnMut(usize, u8)) {
    let high = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let fifth = |element: usize| ((high >> element & 1) as u8) << 4;
    for j in 0..16 {
        let byte = block[at + 4 + j];
        put(j, byte & 15 | fifth(j));
        put(j + 16, byte >> 4 | fifth(j + 16));
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(block, 0);
    five(block, 2, |i, q| out[i] = d * (i32::from(q) - 16) as f32);
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    five(block, 4, |i, q| out[i] = d * f32::from(q) + m);
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(q as i8);
    }
}
