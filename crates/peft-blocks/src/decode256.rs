//! Super-blocks of 256 elements, whose sub-blocks have scales that are quantised themselves.

use super::decode32::half;

/// Element `128 n + 32 k + l` has its code in bits `2k` and `2k + 1` of byte `32 n + l`, and the
/// scale of its sub-block of 16 is number `8 n + 2 k + l / 16`.
#[inline(always)]
fn halves(mut put: impl FnMut(usize, usize, usize, usize)) {
    for n in 0..2 {
        for k in 0..4 {
            for l in 0..32 {
                put(128 * n + 32 * k + l, n, k, l);
            }
        }
    }
}

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    halves(|i, n, k, l| {
        let scale = scales[8 * n + 2 * k + l / 16];
        let q = codes[32 * n + l] >> (2 * k) & 3;
        out[i] = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    });
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, codes, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    let scale = |i: usize| {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let top = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        i32::from(low | top << 4) - 32
    };
    halves(|i, n, k, l| {
        // The third bit is stored inverted: where it is missing, 4 is subtracted.
        let missing = 1 - (high[l] >> (4 * n + k) & 1);
        let q = i32::from(codes[32 * n + l] >> (2 * k) & 3) - 4 * i32::from(missing);
        out[i] = d * scale(8 * n + 2 * k + l / 16) as f32 * q as f32;
    });
}

/// Scale and minimum of sub-block `j` out of the 12 bytes that hold eight of each in 6 bits.
#[inline(always)]
fn scale_and_min(packed: &[u8], j: usize) -> (f32, f32) {
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
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], j);
        let (scale, min) = (d * scale, dmin * min);
        let codes = &block[16 + 32 * (j / 2)..][..32];
        for (out, byte) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(byte >> (4 * (j % 2)) & 15) - min;
        }
    }
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let high = &block[16..48];
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], j);
        let (scale, min) = (d * scale, dmin * min);
        let codes = &block[48 + 32 * (j / 2)..][..32];
        for ((out, byte), high) in out.iter_mut().zip(codes).zip(high) {
            let q = byte >> (4 * (j % 2)) & 15 | (high >> j & 1) << 4;
            *out = scale * f32::from(q) - min;
        }
    }
}

#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    halves(|i, n, k, l| {
        let low = low[64 * n + 32 * (k & 1) + l] >> (4 * (k / 2)) & 15;
        let q = low | (high[32 * n + l] >> (2 * k) & 3) << 4;
        let scale = scales[8 * n + 2 * k + l / 16] as i8;
        out[i] = d * f32::from(scale) * (i32::from(q) - 32) as f32;
    });
}
