//! NF4, the 4-bit type of QLoRA (Dettmers et al. 2023, arXiv:2305.14314): quantiles of a normal
//! distribution as codebook, one absolute maximum for each block of the row-major stream.

/// The codebook: sixteen values of which the eighth is 0.
pub const CODEBOOK: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Elements of a block.
pub const BLOCK: usize = 64;

/// Absolute maxima that share a scale where they are quantised themselves.
pub const NESTED_BLOCK: usize = 256;

/// Codes and scales of a tensor in NF4.
#[derive(Debug, Clone, PartialEq)]
pub struct Nf4 {
    /// Two codes a byte, the first in the high nibble.
    pub codes: Vec<u8>,
    /// The largest magnitude of each block of [`BLOCK`] elements, the last block maybe shorter.
    pub absmax: Vec<f32>,
}

impl Nf4 {
    /// Quantises a row-major stream: of each `x / absmax` the nearest value of [`CODEBOOK`], the
    /// lower one halfway between two.
    pub fn encode(values: &[f32]) -> Self {
        let absmax: Vec<f32> = values
            .chunks(BLOCK)
            .map(|block| block.iter().fold(0f32, |max, v| max.max(v.abs())))
            .collect();
        let code = |i: usize| {
            let max = absmax[i / BLOCK];
            if max == 0.0 {
                7
            } else {
                nearest(values[i] / max)
            }
        };
        let codes = (0..values.len())
            .step_by(2)
            .map(|i| {
                let second = if i + 1 < values.len() { code(i + 1) } else { 0 };
                code(i) << 4 | second
            })
            .collect();
        Self { codes, absmax }
    }

    /// The first `len` values, `codebook[q] absmax`.
    ///
    /// # Panics
    /// If there are fewer codes or scales than `len` elements need.
    pub fn decode(&self, len: usize) -> Vec<f32> {
        decode(&self.codes, &self.absmax, &CODEBOOK, BLOCK, len)
    }
}

/// A block of [`BlockType::Nf4`](crate::BlockType::Nf4).
#[inline(always)]
pub(super) fn decode_block(block: &[u8; 36], out: &mut [f32; BLOCK]) {
    let absmax = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(&block[4..]) {
        pair[0] = CODEBOOK[usize::from(byte >> 4)] * absmax;
        pair[1] = CODEBOOK[usize::from(byte & 15)] * absmax;
    }
}

pub(super) fn encode_block(x: &[f32; BLOCK]) -> [u8; 36] {
    let coded = Nf4::encode(x);
    let mut block = [0; 36];
    block[..4].copy_from_slice(&coded.absmax[0].to_le_bytes());
    block[4..].copy_from_slice(&coded.codes);
    block
}

/// Codes and maxima of a stream as blocks of [`BlockType::Nf4`](crate::BlockType::Nf4), the maxima in front of their codes;
/// `None` unless the stream is whole blocks.
pub fn interleaved(codes: &[u8], absmax: &[f32]) -> Option<Vec<u8>> {
    let (blocks, rest) = codes.as_chunks::<{ BLOCK / 2 }>();
    if !rest.is_empty() || blocks.len() != absmax.len() {
        return None;
    }
    let parts = absmax.iter().zip(blocks);
    Some(
        parts
            .flat_map(|(max, codes)| max.to_le_bytes().into_iter().chain(*codes))
            .collect(),
    )
}

/// The index of the value of [`CODEBOOK`] nearest to `x`.
fn nearest(x: f32) -> u8 {
    CODEBOOK
        .windows(2)
        .take_while(|pair| x > (pair[0] + pair[1]) / 2.0)
        .count() as u8
}

/// Values of 4-bit codes with one scale a block of `block` elements.
///
/// # Panics
/// If there are fewer codes or scales than `len` elements need, or `block` is 0.
pub fn decode(
    codes: &[u8],
    absmax: &[f32],
    codebook: &[f32; 16],
    block: usize,
    len: usize,
) -> Vec<f32> {
    (0..len)
        .map(|i| {
            let byte = codes[i / 2];
            let code = if i % 2 == 0 { byte >> 4 } else { byte & 15 };
            codebook[usize::from(code)] * absmax[i / block]
        })
        .collect()
}

/// Absolute maxima quantised to a byte each, QLoRA's double quantisation.
#[derive(Debug, Clone, PartialEq)]
pub struct NestedScales {
    /// One byte for each block of weights, an index into [`dynamic_map`].
    pub codes: Vec<u8>,
    /// The largest magnitude of each [`NESTED_BLOCK`] maxima, less the offset.
    pub absmax: Vec<f32>,
    /// The mean of all maxima, which is subtracted first.
    pub offset: f32,
}

impl NestedScales {
    /// Quantises the maxima of [`Nf4`].
    pub fn encode(scales: &[f32]) -> Self {
        let sum: f64 = scales.iter().map(|&s| f64::from(s)).sum();
        let offset = (sum / scales.len().max(1) as f64) as f32;
        let map = dynamic_map();
        let mut codes = Vec::with_capacity(scales.len());
        let mut absmax = Vec::with_capacity(scales.len().div_ceil(NESTED_BLOCK));
        for block in scales.chunks(NESTED_BLOCK) {
            let max = block
                .iter()
                .fold(0f32, |max, scale| max.max((scale - offset).abs()));
            absmax.push(max);
            codes.extend(block.iter().map(|scale| {
                let x = if max == 0.0 {
                    0.0
                } else {
                    (scale - offset) / max
                };
                nearest_in(&map, x)
            }));
        }
        Self {
            codes,
            absmax,
            offset,
        }
    }

    /// The maxima: `map[q] absmax + offset`.
    pub fn decode(&self) -> Vec<f32> {
        decode_nested(
            &self.codes,
            &self.absmax,
            &dynamic_map(),
            NESTED_BLOCK,
            self.offset,
        )
    }
}

/// Scales out of their own codes.
///
/// # Panics
/// If there are fewer maxima than codes need, or `block` is 0.
pub fn decode_nested(
    codes: &[u8],
    absmax: &[f32],
    map: &[f32; 256],
    block: usize,
    offset: f32,
) -> Vec<f32> {
    let value = |(i, &q): (usize, &u8)| map[usize::from(q)] * absmax[i / block] + offset;
    codes.iter().enumerate().map(value).collect()
}

fn nearest_in(map: &[f32; 256], x: f32) -> u8 {
    let above = map.partition_point(|&v| v < x).min(255);
    let below = above.saturating_sub(1);
    if (x - map[below]).abs() <= (map[above] - x).abs() {
        below as u8
    } else {
        above as u8
    }
}

/// The signed 8-bit map of bitsandbytes' blockwise quantisation (Dettmers et al. 2022,
/// arXiv:2110.02861): for each of seven powers of ten, `2^i` midpoints of an even division of
/// \[0.1, 1\], both signs of them, then 0 and 1; in rising order.
pub fn dynamic_map() -> [f32; 256] {
    let mut map = Vec::with_capacity(256);
    for exponent in 0..7 {
        let items = 1usize << exponent;
        let step = (1.0 - 0.1f32) / items as f32;
        // As PyTorch's linspace: the second half is counted from the end.
        let boundary = |i: usize| {
            if i < items.div_ceil(2) {
                0.1 + step * i as f32
            } else {
                1.0 - step * (items - i) as f32
            }
        };
        let power = 10f64.powi(exponent - 6) as f32;
        for i in 0..items {
            let value = power * ((boundary(i) + boundary(i + 1)) / 2.0);
            map.extend([value, -value]);
        }
    }
    map.extend([0.0, 1.0]);
    map.sort_by(f32::total_cmp);
    let mut out = [0.0; 256];
    out.copy_from_slice(&map);
    out
}
