//! What the codes of a type mean, span by span.

use peft_blocks::{BlockType, floats::half, scale_and_min};

use super::SPAN;
use super::units::Unit;

/// A type of blocks: `w = s c + m` in each run, with codes that have no sign.
pub trait Kind {
    /// Runs of a block.
    const RUNS: usize;
    /// Bytes of a block.
    const BYTES: usize;

    /// `s` and `m` of so many runs of a span, the first of which begins a block; zeros behind them.
    ///
    /// # Safety
    /// The blocks must be readable, and the instructions be there; so below.
    unsafe fn scales<U: Unit>(span: *const u8, count: usize) -> (U::Floats, U::Floats);

    /// The codes of a pair of runs of a span; twice those of the first where the second is not there.
    ///
    /// # Safety
    /// As above.
    unsafe fn pair<U: Unit>(span: *const u8, pair: usize, both: bool) -> U::Codes;
}

/// The types that have such codes.
pub const KNOWN: [BlockType; 4] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q8_0,
    BlockType::Q4K,
];

/// Where the codes of a pair of runs begin, in blocks of a run each that have so many bytes before them.
#[inline(always)]
fn codes<K: Kind>(span: *const u8, pair: usize, both: bool, before: usize) -> [*const u8; 2] {
    let first = span.wrapping_add(2 * pair * K::BYTES + before);
    [
        first,
        if both {
            first.wrapping_add(K::BYTES)
        } else {
            first
        },
    ]
}

/// 32 codes of 4 bits around 8.
pub struct Q40;

impl Kind for Q40 {
    const RUNS: usize = 1;
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn scales<U: Unit>(span: *const u8, count: usize) -> (U::Floats, U::Floats) {
        // SAFETY: the caller's promise.
        let (scales, _) = unsafe { U::halves::<{ Self::BYTES }>(span, count) };
        (scales, U::times(scales, U::splat(-8.0)))
    }

    #[inline(always)]
    unsafe fn pair<U: Unit>(span: *const u8, pair: usize, both: bool) -> U::Codes {
        // SAFETY: the caller's promise.
        unsafe { U::nibbles(codes::<Self>(span, pair, both, 2)) }
    }
}

/// 32 codes of 4 bits above a least value.
pub struct Q41;

impl Kind for Q41 {
    const RUNS: usize = 1;
    const BYTES: usize = 20;

    #[inline(always)]
    unsafe fn scales<U: Unit>(span: *const u8, count: usize) -> (U::Floats, U::Floats) {
        // SAFETY: the caller's promise.
        unsafe { U::halves::<{ Self::BYTES }>(span, count) }
    }

    #[inline(always)]
    unsafe fn pair<U: Unit>(span: *const u8, pair: usize, both: bool) -> U::Codes {
        // SAFETY: the caller's promise.
        unsafe { U::nibbles(codes::<Self>(span, pair, both, 4)) }
    }
}

/// 32 bytes with a sign: 128 less than codes without one.
pub struct Q80;

impl Kind for Q80 {
    const RUNS: usize = 1;
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn scales<U: Unit>(span: *const u8, count: usize) -> (U::Floats, U::Floats) {
        // SAFETY: the caller's promise.
        let (scales, _) = unsafe { U::halves::<{ Self::BYTES }>(span, count) };
        (scales, U::times(scales, U::splat(-128.0)))
    }

    #[inline(always)]
    unsafe fn pair<U: Unit>(span: *const u8, pair: usize, both: bool) -> U::Codes {
        // SAFETY: the caller's promise.
        unsafe { U::bytes(codes::<Self>(span, pair, both, 2)) }
    }
}

/// 256 codes of 4 bits, a scale and a least value for each 32 of them.
pub struct Q4K;

impl Kind for Q4K {
    const RUNS: usize = 8;
    const BYTES: usize = 144;

    #[inline(always)]
    unsafe fn scales<U: Unit>(span: *const u8, count: usize) -> (U::Floats, U::Floats) {
        let (mut scales, mut least) = ([0.0; SPAN], [0.0; SPAN]);
        // SAFETY: the caller's promise; a span is two blocks.
        unsafe {
            for first in (0..count).step_by(Self::RUNS) {
                let block = &*span
                    .add(first / Self::RUNS * Self::BYTES)
                    .cast::<[u8; 16]>();
                let [_, _, _, _, packed @ ..] = block;
                let d = half(u16::from_le_bytes([block[0], block[1]]));
                let dmin = half(u16::from_le_bytes([block[2], block[3]]));
                for run in 0..Self::RUNS {
                    let (scale, min) = scale_and_min(packed, run);
                    scales[first + run] = d * scale;
                    least[first + run] = -dmin * min;
                }
            }
            (U::load(scales.as_ptr()), U::load(least.as_ptr()))
        }
    }

    /// Pairs share 32 bytes: the first has the low halves, the second the high ones.
    #[inline(always)]
    unsafe fn pair<U: Unit>(span: *const u8, pair: usize, _: bool) -> U::Codes {
        let pairs = Self::RUNS / 2;
        // SAFETY: the caller's promise.
        unsafe { U::split(span.add(pair / pairs * Self::BYTES + 16 + pair % pairs * 32)) }
    }
}
