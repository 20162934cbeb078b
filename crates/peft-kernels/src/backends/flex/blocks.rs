//! Matrices whose numbers stay in quantised blocks.
//!
//! Such a matrix is a tensor of the shape that it shows and of `f32`, every element of which is NaN: its strides are 0 from
//! line to line and 1 along a line, over one line of NaNs at the start of its storage. Behind that line lie a head and the
//! blocks. So whatever does not know of blocks may clone, share, move and transpose it, and sees at once, in NaNs, that it
//! cannot compute with it; the bodies of this backend find the blocks.

use core::ops::Range;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use peft_blocks::BlockType;

use super::matmul::Vector;
use super::real::Real;

/// What a head begins with.
const MAGIC: u64 = 0x9c1f_5b2e_70d3_a846;
/// Words of a head: the magic number, the place of the type in [`BlockType::ALL`], lines and width.
const HEAD: usize = 4;
const WORD: usize = size_of::<u64>();
/// Elements that are decoded together. A multiple of every block.
pub const CHUNK: usize = 256;

/// Bytes that memory is read by.
const CACHE_LINE: usize = 64;
/// How far ahead, in bytes, blocks are fetched: half a page, so mostly beyond the one where the processor's own fetching ends.
pub(super) const AHEAD: usize = 2048;

/// Where chunks are decoded. Made once for many of them, for making it writes it; whole cache lines, for a vector that lies
/// on two costs twice.
#[repr(align(64))]
pub struct Room<T, const LEN: usize = CHUNK> {
    narrow: [f32; LEN],
    /// A chunk.
    pub wide: [T; LEN],
}

impl<T: Real, const LEN: usize> Default for Room<T, LEN> {
    fn default() -> Self {
        Self {
            narrow: [0.0; LEN],
            wide: [T::ZERO; LEN],
        }
    }
}

/// A matrix of blocks, as a product sees it.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// How the elements are stored.
    kind: BlockType,
    start: *const u8,
    /// Bytes of a line.
    line_bytes: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Whether the lines, along which blocks run, are its columns.
    pub upright: bool,
}

// SAFETY: a shared borrow in disguise, of plain bytes.
unsafe impl Send for Blocks {}
// SAFETY: as above.
unsafe impl Sync for Blocks {}

impl Blocks {
    /// The blocks of a tensor that has them.
    pub fn of(x: &FlexTensor) -> Option<Self> {
        let layout = x.layout();
        let (&[rows, cols], strides) = (layout.shape().as_slice(), layout.strides()) else {
            return None;
        };
        let upright = match strides {
            [0, 1] => false,
            [1, 0] => true,
            _ => return None,
        };
        if x.dtype() != DType::F32 || layout.start_offset() != 0 {
            return None;
        }
        let (lines, width) = if upright { (cols, rows) } else { (rows, cols) };
        let bytes = x.bytes();
        let head = width.next_multiple_of(2) * size_of::<f32>();
        let words = bytes.get(head..head + HEAD * WORD)?;
        let word = |at: usize| {
            let word = words[at * WORD..][..WORD].try_into();
            u64::from_ne_bytes(word.expect("as many bytes"))
        };
        if word(0) != MAGIC || word(2) != lines as u64 || word(3) != width as u64 {
            return None;
        }
        let kind = *BlockType::ALL.get(word(1) as usize)?;
        let line_bytes = kind.byte_len(width)?;
        let blocks = bytes.get(head + HEAD * WORD..)?;
        (blocks.len() >= lines * line_bytes).then_some(Self {
            kind,
            start: blocks.as_ptr(),
            line_bytes,
            rows,
            cols,
            upright,
        })
    }

    /// How the elements are stored.
    pub fn kind(self) -> BlockType {
        self.kind
    }

    /// The transpose.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            upright: !self.upright,
            ..self
        }
    }

    /// The bytes of a line.
    ///
    /// # Safety
    /// The matrix must have the line, and its tensor be alive.
    #[inline(always)]
    pub(super) unsafe fn line<'a>(self, line: usize) -> &'a [u8] {
        // SAFETY: inside of the blocks, by the caller's promise.
        unsafe {
            let start = self.start.add(line * self.line_bytes);
            core::slice::from_raw_parts(start, self.line_bytes)
        }
    }

    /// Decodes a range of a line into `to`, which is as long and no longer than a chunk.
    ///
    /// # Safety
    /// The matrix must have the line and the range, and its tensor be alive.
    #[inline(always)]
    pub unsafe fn decode_into<V: Vector>(
        self,
        line: usize,
        range: Range<usize>,
        room: &mut Room<V::Elem>,
        to: &mut [V::Elem],
    ) {
        let len = self.kind.block_len();
        // SAFETY: the caller's promise.
        unsafe {
            if range.start.is_multiple_of(len) && to.len().is_multiple_of(len) {
                let at = range.start / len * self.kind.block_bytes();
                V::decode(self.kind, &self.line(line)[at..], &mut room.narrow, to);
                return;
            }
            self.decode(
                line,
                range,
                room,
                #[inline(always)]
                |at, values| {
                    to[at..at + values.len()].copy_from_slice(values);
                },
            );
        }
    }

    /// Decodes `count` elements of a line from the place `from` on into the room: at most as many as it has room for, and
    /// from the start of a block. The bytes of what comes later in memory are fetched.
    ///
    /// # Safety
    /// The matrix must have the line and the elements, and its tensor be alive.
    #[inline(always)]
    pub unsafe fn decode_chunk<V: Vector, const LEN: usize>(
        self,
        line: usize,
        from: usize,
        count: usize,
        room: &mut Room<V::Elem, LEN>,
    ) {
        let at = from / self.kind.block_len() * self.kind.block_bytes();
        // SAFETY: the caller's promise.
        let bytes = unsafe { &self.line(line)[at..] };
        let (len, wide) = (self.kind.block_len(), &mut room.wide[..count]);
        // Many at once would wait for each other.
        for (from, piece) in (0..).step_by(CHUNK).zip(wide.chunks_mut(CHUNK)) {
            let at = from / len * self.kind.block_bytes();
            let used = piece.len().div_ceil(len) * self.kind.block_bytes();
            for place in (at..at + used).step_by(CACHE_LINE) {
                V::prefetch(bytes.as_ptr().wrapping_add(place + AHEAD).cast());
            }
            V::decode(self.kind, &bytes[at..], &mut room.narrow, piece);
        }
    }

    /// Decodes a range of a line, in pieces: `take` is given each with its place in the range.
    ///
    /// # Safety
    /// The matrix must have the line and the range, and its tensor be alive.
    #[inline(always)]
    pub unsafe fn decode<T: Real>(
        self,
        line: usize,
        range: Range<usize>,
        room: &mut Room<T>,
        mut take: impl FnMut(usize, &[T]),
    ) {
        let len = self.kind.block_len();
        // SAFETY: the caller's promise.
        let bytes = unsafe { self.line(line) };
        let end = range.end.next_multiple_of(len);
        for from in (range.start / len * len..end).step_by(CHUNK) {
            let count = CHUNK.min(end - from);
            let blocks = from / len * self.kind.block_bytes();
            let values = &mut room.wide[..count];
            T::decode(self.kind, &bytes[blocks..], &mut room.narrow, values);
            let (first, last) = (range.start.max(from), range.end.min(from + count));
            take(first - range.start, &values[first - from..last - from]);
        }
    }
}

/// A matrix `[lines, width]` of blocks; `None` if the lines are not whole blocks, or the bytes are not those of the matrix.
pub fn block_matrix(
    kind: BlockType,
    [lines, width]: [usize; 2],
    blocks: &[u8],
) -> Option<FlexTensor> {
    let line_bytes = kind.byte_len(width)?;
    if line_bytes.checked_mul(lines)? != blocks.len() || width == 0 {
        return None;
    }
    let place = BlockType::ALL.iter().position(|one| *one == kind)? as u64;
    // Words, so that the storage is aligned for numbers.
    let line = width.div_ceil(2);
    let mut storage = Vec::with_capacity(line + HEAD + blocks.len().div_ceil(WORD));
    let nan = u64::from(f32::NAN.to_bits());
    storage.resize(line, nan << 32 | nan);
    storage.extend([MAGIC, place, lines as u64, width as u64]);
    let (words, rest) = blocks.as_chunks::<WORD>();
    storage.extend(words.iter().map(|word| u64::from_ne_bytes(*word)));
    if !rest.is_empty() {
        let mut word = [0; WORD];
        word[..rest.len()].copy_from_slice(rest);
        storage.push(u64::from_ne_bytes(word));
    }
    let layout = Layout::new(Shape::new([lines, width]), vec![0, 1], 0);
    Some(FlexTensor::new(
        Bytes::from_elems(storage),
        layout,
        DType::F32,
    ))
}
