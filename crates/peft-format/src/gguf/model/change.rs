//! What conversion to GGUF did to values, and how it is undone.

use crate::blocks::BlockType;

/// How a tensor of the file differs from that of Hugging Face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    None,
    /// The rows of each head alternate between its two halves, for interleaved rotary embeddings.
    Interleaved {
        /// Heads of the matrix.
        heads: usize,
    },
    /// Norm weights stored as `w + 1`.
    PlusOne,
    /// A matrix of `[in, out]` stored as `[out, in]`.
    Transposed,
    /// `A_log` stored as `-exp(A_log)`.
    NegativeExponential {
        /// Whether a list of numbers, one a head, is stored as a column.
        column: bool,
    },
    /// A list of numbers stored as a matrix.
    Folded,
    /// A depthwise kernel `[channels, 1, width]` without its middle dimension.
    Squeezed,
}

impl Change {
    /// True if every value is stored as it is, wherever.
    pub fn keeps_values(self) -> bool {
        !matches!(self, Self::PlusOne | Self::NegativeExponential { .. })
    }

    /// Hugging Face's shape of a tensor that the file has in `shape`.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::Transposed, _) => shape.iter().rev().copied().collect(),
            (Self::Squeezed, [channels, width]) => vec![*channels, 1, *width],
            (Self::Folded | Self::NegativeExponential { column: true }, _) => {
                vec![shape.iter().product()]
            }
            _ => shape.to_vec(),
        }
    }
}

/// The order that undoes llama.cpp's: row `b D/2 + i` of a head of Hugging Face is its row `2i + b`.
///
/// Item `r` is the row of the file that belongs at row `r`.
pub(super) fn interleaved_rows(heads: usize, head_dim: usize) -> impl Iterator<Item = usize> {
    let half = head_dim / 2;
    (0..heads * head_dim).map(move |row| {
        let (head, place) = (row / head_dim, row % head_dim);
        head * head_dim + 2 * (place % half) + place / half
    })
}

/// Rows of `row_bytes` in Hugging Face's order of the file's. Blocks move as they are.
pub(in crate::gguf) fn undo_interleaving(bytes: &[u8], heads: usize, row_bytes: usize) -> Vec<u8> {
    let rows = bytes.len() / row_bytes;
    let mut out = Vec::with_capacity(bytes.len());
    for row in interleaved_rows(heads, rows / heads) {
        out.extend_from_slice(&bytes[row * row_bytes..][..row_bytes]);
    }
    out
}

/// Rows of `row_bytes` in llama.cpp's order of Hugging Face's: the inverse of
/// [`undo_interleaving`].
pub(in crate::gguf) fn interleave(bytes: &[u8], heads: usize, row_bytes: usize) -> Vec<u8> {
    let rows = bytes.len() / row_bytes;
    let mut out = vec![0; bytes.len()];
    for (from, to) in interleaved_rows(heads, rows / heads).enumerate() {
        out[to * row_bytes..][..row_bytes].copy_from_slice(&bytes[from * row_bytes..][..row_bytes]);
    }
    out
}

/// The row of llama.cpp's fused matrix, which has all queries, then all keys, then all values, that is each
/// row of Hugging Face's, which has query, key and value of one head after the other.
fn rows_by_part(heads: usize, rows: usize) -> impl Iterator<Item = usize> {
    let width = rows / heads / 3;
    (0..heads * 3 * width).map(move |row| {
        let (head, part, place) = (row / (3 * width), row / width % 3, row % width);
        (part * heads + head) * width + place
    })
}

/// Rows of `row_bytes` in llama.cpp's order of Hugging Face's.
pub(in crate::gguf) fn by_part(bytes: &[u8], heads: usize, row_bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (from, to) in rows_by_part(heads, bytes.len() / row_bytes).enumerate() {
        out[to * row_bytes..][..row_bytes].copy_from_slice(&bytes[from * row_bytes..][..row_bytes]);
    }
    out
}

/// The inverse of [`by_part`].
pub(in crate::gguf) fn by_head(bytes: &[u8], heads: usize, row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for row in rows_by_part(heads, bytes.len() / row_bytes) {
        out.extend_from_slice(&bytes[row * row_bytes..][..row_bytes]);
    }
    out
}

/// Decoded values as `f32` after `f`.
pub(super) fn mapped(kind: BlockType, bytes: &[u8], f: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / kind.block_bytes() * kind.block_len()];
    kind.decode(bytes, &mut values);
    values.iter_mut().for_each(|v| *v = f(*v));
    values
}

/// The transpose of a row-major matrix of `rows` rows.
pub(super) fn transpose(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let mut out = vec![0.0; values.len()];
    for (r, row) in values.chunks_exact(columns).enumerate() {
        for (c, v) in row.iter().enumerate() {
            out[c * rows + r] = *v;
        }
    }
    out
}
