//! Weights as blocks of low-bit codes with a scale of their own: the types of GGUF files, and NF4.
//!
//! Plain floats are blocks of one element, so that every stored weight has a [`BlockType`].

mod decode256;
mod decode32;
mod encode;
pub mod nf4;

use crate::checkpoint::convert;

/// How the elements of a row are stored: the element types of GGUF that are read here.
///
/// A tensor is the concatenation of its rows and a row that of its blocks, so that whole rows can be
/// moved without touching a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BlockType {
    /// 32-bit floats.
    F32,
    /// IEEE half floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 32 codes of 4 bits: `y = d (q - 8)`.
    Q4_0,
    /// 32 codes of 4 bits: `y = d q + m`.
    Q4_1,
    /// 32 codes of 5 bits: `y = d (q - 16)`.
    Q5_0,
    /// 32 codes of 5 bits: `y = d q + m`.
    Q5_1,
    /// 32 signed bytes: `y = d q`.
    Q8_0,
    /// 256 codes of 2 bits, 16 sub-blocks with 4-bit scales and minima: `y = d s q - dmin m`.
    Q2K,
    /// 256 codes of 3 bits, 16 sub-blocks with signed 6-bit scales: `y = d s q`.
    Q3K,
    /// 256 codes of 4 bits, 8 sub-blocks with 6-bit scales and minima: `y = d s q - dmin m`.
    Q4K,
    /// 256 codes of 5 bits, 8 sub-blocks with 6-bit scales and minima: `y = d s q - dmin m`.
    Q5K,
    /// 256 codes of 6 bits, 16 sub-blocks with signed 8-bit scales: `y = d s (q - 32)`.
    Q6K,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Number in a GGUF file, name, elements and bytes of a block.
    const fn facts(self) -> (u32, &'static str, usize, usize) {
        match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Bf16 => (30, "BF16", 1, 2),
            Self::Q4_0 => (2, "Q4_0", 32, 18),
            Self::Q4_1 => (3, "Q4_1", 32, 20),
            Self::Q5_0 => (6, "Q5_0", 32, 22),
            Self::Q5_1 => (7, "Q5_1", 32, 24),
            Self::Q8_0 => (8, "Q8_0", 32, 34),
            Self::Q2K => (10, "Q2_K", 256, 84),
            Self::Q3K => (11, "Q3_K", 256, 110),
            Self::Q4K => (12, "Q4_K", 256, 144),
            Self::Q5K => (13, "Q5_K", 256, 176),
            Self::Q6K => (14, "Q6_K", 256, 210),
        }
    }

    /// The type with this number in GGUF files.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ggml() == id)
    }

    /// The number of this type in GGUF files.
    pub const fn ggml(self) -> u32 {
        self.facts().0
    }

    /// The name that llama.cpp gives this type.
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// Elements of a block.
    pub const fn block_len(self) -> usize {
        self.facts().2
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().3
    }

    /// True for the types whose blocks are single floats.
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Bytes of so many consecutive elements; `None` unless they are whole blocks of a countable
    /// size.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Decodes whole blocks into `out`; all products and sums are of `f32`.
    ///
    /// # Panics
    /// If `bytes` is not [`byte_len`](Self::byte_len) of the length of `out`.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            self.byte_len(out.len()),
            Some(bytes.len()),
            "{} bytes of {} for {} elements",
            bytes.len(),
            self.name(),
            out.len()
        );
        match self {
            Self::F32 => convert::f32_into(bytes, out),
            Self::F16 => convert::f16_into(bytes, out),
            Self::Bf16 => convert::bf16_into(bytes, out),
            Self::Q4_0 => each(bytes, out, decode32::q4_0),
            Self::Q4_1 => each(bytes, out, decode32::q4_1),
            Self::Q5_0 => each(bytes, out, decode32::q5_0),
            Self::Q5_1 => each(bytes, out, decode32::q5_1),
            Self::Q8_0 => each(bytes, out, decode32::q8_0),
            Self::Q2K => each(bytes, out, decode256::q2_k),
            Self::Q3K => each(bytes, out, decode256::q3_k),
            Self::Q4K => each(bytes, out, decode256::q4_k),
            Self::Q5K => each(bytes, out, decode256::q5_k),
            Self::Q6K => each(bytes, out, decode256::q6_k),
        }
    }

    /// Encodes whole blocks; `None` for a type that this crate only reads.
    ///
    /// F32, F16 and BF16 (to nearest, ties to even), and the reference encoders of Q8_0, Q4_0 and
    /// Q4_1: with `x` a block and `1/d` taken before `d` is rounded to a half,
    /// Q8_0 `d = max|x| / 127`, `q = round(x/d)`, halves away from zero;
    /// Q4_0 `d = x_m / -8` with `x_m` the first `x` of the largest magnitude,
    /// `q = min(trunc(x/d + 8.5), 15)`;
    /// Q4_1 `m = min x`, `d = (max x - m) / 15`, `q = trunc((x - m)/d + 0.5)`.
    ///
    /// # Panics
    /// If the values are no whole number of blocks.
    pub fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        assert!(
            values.len().is_multiple_of(self.block_len()),
            "{} values are no whole blocks of {}",
            values.len(),
            self.name()
        );
        match self {
            Self::F32 => Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::F16 => Some(
                values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                    .collect(),
            ),
            Self::Bf16 => Some(
                values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect(),
            ),
            Self::Q4_0 => Some(all(values, encode::q4_0)),
            Self::Q4_1 => Some(all(values, encode::q4_1)),
            Self::Q8_0 => Some(all(values, encode::q8_0)),
            _ => None,
        }
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let blocks = bytes.as_chunks::<BYTES>().0;
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
        decode(block, out);
    }
}

fn all<const BYTES: usize>(values: &[f32], encode: impl Fn(&[f32; 32]) -> [u8; BYTES]) -> Vec<u8> {
    let blocks = values.as_chunks::<32>().0;
    blocks.iter().flat_map(encode).collect()
}

#[cfg(test)]
mod tests;
