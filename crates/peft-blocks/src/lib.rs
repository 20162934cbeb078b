#![warn(missing_docs)]
//! Weights as blocks of low-bit codes with a scale of their own: the types of GGUF files, and NF4.
//!
//! Plain floats are blocks of one element, so that every stored weight has a [`BlockType`].
//!
//! ```
//! use peft_blocks::BlockType;
//!
//! let row: Vec<f32> = (0..64).map(|i| (i as f32 * 0.1).sin()).collect();
//! let bytes = BlockType::Q8_0.encode(&row).expect("a type that is written");
//! assert_eq!(bytes.len(), 2 * 34);
//! let mut back = vec![0.0; 64];
//! BlockType::Q8_0.decode(&bytes, &mut back);
//! assert!(row.iter().zip(&back).all(|(a, b)| (a - b).abs() < 0.005));
//! ```

mod decode256;
mod decode32;
mod encode;
pub mod floats;
pub mod nf4;

pub use decode256::scale_and_min;

/// How the elements of a row are stored: the element types of GGUF that are read here, and NF4.
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
    /// 64 codes of 4 bits into the codebook of [`nf4`], behind their largest magnitude as `f32`, two a byte and the first
    /// in the high nibble: `y = codebook[q] absmax`. No type of GGUF files.
    Nf4,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 14] = [
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
        Self::Nf4,
    ];

    /// Number in a GGUF file, name, elements and bytes of a block.
    const fn facts(self) -> (Option<u32>, &'static str, usize, usize) {
        match self {
            Self::F32 => (Some(0), "F32", 1, 4),
            Self::F16 => (Some(1), "F16", 1, 2),
            Self::Bf16 => (Some(30), "BF16", 1, 2),
            Self::Q4_0 => (Some(2), "Q4_0", 32, 18),
            Self::Q4_1 => (Some(3), "Q4_1", 32, 20),
            Self::Q5_0 => (Some(6), "Q5_0", 32, 22),
            Self::Q5_1 => (Some(7), "Q5_1", 32, 24),
            Self::Q8_0 => (Some(8), "Q8_0", 32, 34),
            Self::Q2K => (Some(10), "Q2_K", 256, 84),
            Self::Q3K => (Some(11), "Q3_K", 256, 110),
            Self::Q4K => (Some(12), "Q4_K", 256, 144),
            Self::Q5K => (Some(13), "Q5_K", 256, 176),
            Self::Q6K => (Some(14), "Q6_K", 256, 210),
            Self::Nf4 => (None, "NF4", nf4::BLOCK, 4 + nf4::BLOCK / 2),
        }
    }

    /// The type with this number in GGUF files.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ggml() == Some(id))
    }

    /// The number of this type in GGUF files; `None` for NF4, which they do not have.
    pub const fn ggml(self) -> Option<u32> {
        self.facts().0
    }

    /// The name that llama.cpp gives this type, or QLoRA.
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
        peft_simd::dispatch(Decode(self, bytes, out));
    }

    /// [`decode`](Self::decode) as a part of the caller: what is compiled for an instruction set decodes with its
    /// instructions.
    ///
    /// It decodes as many whole blocks as both slices have room for; what is beyond them in `out` is left as it was.
    #[inline(always)]
    pub fn decode_inline(self, bytes: &[u8], out: &mut [f32]) {
        // Not a function that is given `decode`: what a function item is called through would not be a part of the caller.
        macro_rules! each {
            ($decode:path) => {{
                let blocks = bytes.as_chunks().0;
                for (block, out) in blocks.iter().zip(out.as_chunks_mut().0) {
                    $decode(block, out);
                }
            }};
        }
        match self {
            Self::F32 => floats::from_f32(bytes, out),
            Self::F16 => floats::from_f16(bytes, out),
            Self::Bf16 => floats::from_bf16(bytes, out),
            Self::Q4_0 => decode32::q4_0(bytes, out),
            Self::Q4_1 => decode32::q4_1(bytes, out),
            Self::Q5_0 => decode32::q5_0(bytes, out),
            Self::Q5_1 => decode32::q5_1(bytes, out),
            Self::Q8_0 => decode32::q8_0(bytes, out),
            Self::Q2K => each!(decode256::q2_k),
            Self::Q3K => each!(decode256::q3_k),
            Self::Q4K => each!(decode256::q4_k),
            Self::Q5K => each!(decode256::q5_k),
            Self::Q6K => each!(decode256::q6_k),
            Self::Nf4 => each!(nf4::decode_block),
        }
    }

    /// Encodes whole blocks; `None` for a type that this crate only reads.
    ///
    /// F32, F16 and BF16 (to nearest, ties to even), and the reference encoders of Q8_0, Q4_0 and
    /// Q4_1: with `x` a block and `1/d` taken before `d` is rounded to a half,
    /// Q8_0 `d = max|x| / 127`, `q = round(x/d)`, halves away from zero;
    /// Q4_0 `d = x_m / -8` with `x_m` the first `x` of the largest magnitude,
    /// `q = min(trunc(x/d + 8.5), 15)`;
    /// Q4_1 `m = min x`, `d = (max x - m) / 15`, `q = trunc((x - m)/d + 0.5)`;
    /// NF4 the nearest value of its codebook to `x / max|x|`, the lower one halfway between two.
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
            Self::Nf4 => Some(all(values, nf4::encode_block)),
            _ => None,
        }
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

struct Decode<'a>(BlockType, &'a [u8], &'a mut [f32]);

impl peft_simd::Kernel for Decode<'_> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self(kind, bytes, out) = self;
        kind.decode_inline(bytes, out);
    }
}

fn all<const LEN: usize, const BYTES: usize>(
    values: &[f32],
    encode: impl Fn(&[f32; LEN]) -> [u8; BYTES],
) -> Vec<u8> {
    let blocks = values.as_chunks::<LEN>().0;
    blocks.iter().flat_map(encode).collect()
}

#[cfg(test)]
mod tests;
