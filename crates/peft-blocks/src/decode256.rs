//! Super-blocks of 256 elements, whose sub-blocks have scales that are quantised themselves.

use super::decode32::{bits, half};

/// Scales of sub-blocks of 16, spread over 32 elements.
#[inline(always)]
fn spread(first: f32, second: f32) -> [f32; 32] {
    let mut all = [first; 32];
    for (element, scale) in all.iter_mut().enumerate() {
        *scale = if element < 16 { first } else { second };
    }
    all
}

/// Element `128 n + 32 k + l` has its code in bits `2k` and `2k + 1` of byte `32 n + l`, and the
/// scale of its sub-block of 16 is number `8 n + 2 k + l / 16`.
macro_rules! each_group {
    ($out:ident, |$n:ident, $k:ident, $group:ident| $body:block) => {
        for (place, $group) in $out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let ($n, $k) = (place / 4, place % 4);
            $body
        }
    };
}

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    each_group!(out, |n, k, group| {
        let [first, second] = [0, 1].map(|half| scales[8 * n + 2 * k + half]);
        let codes: [u8; 32] = bits(&codes[32 * n..], 2 * k, 3);
        let [d1, d2] = [first, second].map(|scale| d * f32::from(scale & 15));
        let [m1, m2] = [first, second].map(|scale| dmin * f32::from(scale >> 4));
        let (factors, minima) = (spread(d1, d2), spread(m1, m2));
        for (i, out) in group.iter_mut().enumerate() {
            *out = factors[i] * f32::from(codes[i]) - minima[i];
        }
    });
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, codes, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    let scale = |i: usize| {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let top = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        d * (i32::from(low | top << 4) - 32) as f32
    };
    each_group!(out, |n, k, group| {
        let codes: [u8; 32] = bits(&codes[32 * n..], 2 * k, 3);
        // The third bit is stored inverted: where it is missing, 4 is subtracted.
        let third: [u8; 32] = bits(high, 4 * n + k, 1);
        let first = 8 * n + 2 * k;
        let factors = spread(scale(first), scale(first + 1));
        for (i, out) in group.iter_mut().enumerate() {
            let q = i32::from(codes[i]) + 4 * i32::from(third[i]) - 4;
            *out = factors[i] * q as f32;
        }
    });
}

/// Scale and minimum of sub-block `j` of a block of [`Q4K`](crate::BlockType::Q4K) or [`Q5K`](crate::BlockType::Q5K), out of the 12 bytes
/// that hold eight of each in 6 bits: factors on the block's `d` and `dmin`.
#[inline(always)]
pub fn scale_and_min(packed: &[u8; 12], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            packed[j + 4] & 15 | packed[j - 4] >> 6 << 4,
            packed[j + 4] >> 4 | packed[j] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let packed = block[4..].first_chunk().expect("12 bytes");
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(packed, j);
        let (scale, min) = (d * scale, dmin * min);
        let codes: [u8; 32] = bits(&block[16 + 32 * (j / 2)..], 4 * (j % 2), 15);
        for (out, q) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(q) - min;
        }
    }
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let packed = block[4..].first_chunk().expect("12 bytes");
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(packed, j);
        let (scale, min) = (d * scale, dmin * min);
        let codes: [u8; 32] = bits(&block[48 + 32 * (j / 2)..], 4 * (j % 2), 15);
        let fifth: [u8; 32] = bits(&block[16..], j, 1);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(codes[i] | fifth[i] << 4) - min;
        }
    }
}

#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    each_group!(out, |n, k, group| {
        let low: [u8; 32] = bits(&low[64 * n + 32 * (k & 1)..], 4 * (k / 2), 15);
        let high: [u8; 32] = bits(&high[32 * n..], 2 * k, 3);
        let [first, second] = [0, 1].map(|half| d * f32::from(scales[8 * n + 2 * k + half] as i8));
        let factors = spread(first, second);
        for (i, out) in group.iter_mut().enumerate() {
            *out = factors[i] * (i32::from(low[i] | high[i] << 4) - 32) as f32;
        }
    });
}
