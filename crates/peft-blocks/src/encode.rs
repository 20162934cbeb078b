//! The reference encoders of the 32-blocks.

use half::f16;

/// `1/d`, and 0 where every value is the same.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Two codes a byte: elements 0 to 15 in the low nibbles, 16 to 31 in the high ones.
fn pack(out: &mut [u8], code: impl Fn(usize) -> u8) {
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = code(j) | code(j + 16) << 4;
    }
}

pub(super) fn q8_0(x: &[f32; 32]) -> [u8; 34] {
    let d = x.iter().fold(0f32, |max, v| max.max(v.abs())) / 127.0;
    let inverse = inverse(d);
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, v) in block[2..].iter_mut().zip(x) {
        // `round` takes halves away from zero; the cast saturates.
        *byte = (v * inverse).round() as i8 as u8;
    }
    block
}

pub(super) fn q4_0(x: &[f32; 32]) -> [u8; 18] {
    let far = x
        .iter()
        .fold(0f32, |far, &v| if v.abs() > far.abs() { v } else { far });
    let d = far / -8.0;
    let inverse = inverse(d);
    let mut block = [0; 18];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    pack(&mut block[2..], |i| ((x[i] * inverse + 8.5) as u8).min(15));
    block
}

pub(super) fn q4_1(x: &[f32; 32]) -> [u8; 20] {
    let (min, max) = x
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &v| {
            (min.min(v), max.max(v))
        });
    let d = (max - min) / 15.0;
    let inverse = inverse(d);
    let mut block = [0; 20];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(min).to_le_bytes());
    pack(&mut block[4..], |i| {
        (((x[i] - min) * inverse + 0.5) as u8).min(15)
    });
    block
}
