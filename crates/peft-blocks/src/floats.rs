//! Plain floats, little-endian, at any address.

/// A half float, exactly. Without a branch, so that loops over it vectorise, which the conversions of libraries that ask for
/// the processor's own instruction each time do not.
#[inline(always)]
pub fn widen_half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    // The biases of the exponents differ by 112; the product also normalises what is subnormal.
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 {
        0x7f80_0000
    } else {
        0
    };
    f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
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
            let expected = half::bf16::from_bits(bits).to_f32();
            let found = widen_bf16(bits);
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }
}
