//! Plain floats, little-endian, at any address.

/// A half float, exactly. Without a branch, so that loops over it vectorise, which the conversions of libraries that ask for
/// the processor's own instruction each time do not.
#[inline(always)]
pub const fn widen_half(bits: u16) -> f32 {
    // Sign, exponent and mantissa to their places: a sign-extending shift brings the sign along.
    let placed = (bits as i16 as i32) << 13 & 0x8fff_e000_u32 as i32;
    // The biases of the exponents differ by 112; the product also normalises what is subnormal.
    let value = f32::from_bits(placed as u32) * f32::from_bits(0x7780_0000);
    // Infinities and NaN alone are 65536 or more here: their exponent is the largest, in both formats. By arithmetic, for
    // compilers make jumps of a choice.
    let beyond = (value.to_bits() & 0x7fff_ffff).wrapping_sub(0x4780_0000) as i32;
    let special = !(beyond >> 31) as u32 & 0x7f80_0000;
    f32::from_bits(value.to_bits() | special)
}

/// Every half float, by its bits: for single ones, which vectors do not help.
static HALVES: [f32; 1 << 16] = {
    let mut all = [0.0; 1 << 16];
    let mut bits = 0;
    while bits < all.len() {
        all[bits] = widen_half(bits as u16);
        bits += 1;
    }
    all
};

/// One half float, exactly, out of a table.
#[inline(always)]
pub fn half(bits: u16) -> f32 {
    HALVES[usize::from(bits)]
}

/// A bfloat16, exactly: a shift keeps every bit, NaN payloads included, as in PyTorch.
#[inline(always)]
pub fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Copies `f32`s; as many as both sides have.
#[inline(always)]
pub(crate) fn from_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*chunk);
    }
}

/// Widens half floats; as many as both sides have.
#[inline(always)]
pub(crate) fn from_f16(bytes: &[u8], out: &mut [f32]) {
    for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = widen_half(u16::from_le_bytes(*chunk));
    }
}

/// Widens bfloat16s; as many as both sides have.
#[inline(always)]
pub(crate) fn from_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = widen_bf16(u16::from_le_bytes(*chunk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_float_is_exact() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = widen_half(bits);
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{bits:#x}");
            assert_eq!(half(bits).to_bits(), found.to_bits(), "{bits:#x}");
            let expected = half::bf16::from_bits(bits).to_f32();
            let found = widen_bf16(bits);
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }
}
