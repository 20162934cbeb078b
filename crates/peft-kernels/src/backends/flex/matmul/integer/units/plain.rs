//! Numbers one by one, for machines without units.

use peft_blocks::floats::half;

use super::super::super::Matrix;
use super::super::kinds::Layout;
use super::super::{GROUP, RUN, Rounded, Task, run};
use super::{LANES, Spread, Unit, Units};

/// Without units.
pub const UNITS: Units = Units {
    name: "no units for whole numbers",
    native: false,
    round,
    task,
};

/// Codes of two runs.
type Codes = [u8; 2 * RUN];
/// Four pairs.
type Pairs = [f32; 2 * GROUP];
/// Neighbours whose products are one sum.
const FOUR: usize = 2 * RUN / LANES;

struct Plain;

/// The pairs of so many blocks of 32 numbers, which `pair` makes of their first four bytes, and their codes: their last bytes.
#[inline(always)]
unsafe fn blocks<const BYTES: usize, const CODES: usize>(
    from: *const u8,
    count: usize,
    pair: impl Fn(f32, f32) -> [f32; 2],
) -> (Pairs, [[u8; CODES]; GROUP]) {
    let mut pairs = [0.0; 2 * GROUP];
    let mut codes = [[0; CODES]; GROUP];
    for block in 0..count {
        // SAFETY: the caller's promise.
        let block_bytes = unsafe { &*from.add(block * BYTES).cast::<[u8; BYTES]>() };
        let [a, b, c, d] = *block_bytes.first_chunk().expect("so many bytes");
        let of = pair(
            half(u16::from_le_bytes([a, b])),
            half(u16::from_le_bytes([c, d])),
        );
        pairs[2 * block..][..2].copy_from_slice(&of);
        codes[block].copy_from_slice(&block_bytes[BYTES - CODES..]);
    }
    (pairs, codes)
}

/// The low halves of bytes, and the high ones.
#[inline(always)]
fn nibbles(bytes: Codes) -> [Codes; 2] {
    [bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4)]
}

#[inline(always)]
fn joined<const N: usize>(parts: &[[u8; N]]) -> Codes {
    core::array::from_fn(|i| parts[i / N][i % N])
}

#[inline(always)]
fn products(codes: &Codes, with: &[i8], lane: usize) -> i32 {
    let four = lane * FOUR..(lane + 1) * FOUR;
    four.map(|i| i32::from(codes[i]) * i32::from(with[i])).sum()
}

impl Unit for Plain {
    type Codes = Codes;
    type Floats = [f32; LANES];
    type Pairs = Pairs;
    const ZERO: [f32; LANES] = [0.0; LANES];
    const NO_PAIRS: Pairs = [0.0; 2 * GROUP];

    #[inline(always)]
    unsafe fn q4_0(from: *const u8, count: usize) -> (Pairs, [Codes; 2]) {
        // SAFETY: the caller's promise; so below.
        let (pairs, codes) = unsafe { blocks::<18, 16>(from, count, |d, _| [d, d * -8.0]) };
        (pairs, nibbles(joined(&codes)))
    }

    #[inline(always)]
    unsafe fn q4_1(from: *const u8, count: usize) -> (Pairs, [Codes; 2]) {
        // SAFETY: as above.
        let (pairs, codes) = unsafe { blocks::<20, 16>(from, count, |d, m| [d, m]) };
        (pairs, nibbles(joined(&codes)))
    }

    #[inline(always)]
    unsafe fn q8_0(from: *const u8, count: usize) -> (Pairs, [Codes; 2]) {
        // SAFETY: as above.
        let (pairs, codes) = unsafe { blocks::<34, 32>(from, count, |d, _| [d, d * -128.0]) };
        let codes = [joined(&codes[..2]), joined(&codes[2..])];
        (pairs, codes.map(|codes| codes.map(|byte| byte ^ 0x80)))
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> [Codes; 2] {
        // SAFETY: as above.
        nibbles(unsafe { from.cast::<Codes>().read() })
    }

    #[inline(always)]
    unsafe fn dot(codes: Codes, with: *const i8) -> [f32; LANES] {
        // SAFETY: as above.
        let with = unsafe { with.cast::<[i8; 2 * RUN]>().read() };
        core::array::from_fn(|lane| products(&codes, &with, lane) as f32)
    }

    #[inline(always)]
    unsafe fn dot_both(codes: [Codes; 2], with: *const i8) -> [f32; LANES] {
        // SAFETY: as above.
        let with = unsafe { with.cast::<[[i8; 2 * RUN]; 2]>().read() };
        core::array::from_fn(|lane| {
            let both = [0, 1].map(|i| products(&codes[i], &with[i], lane));
            (both[0] + both[1]) as f32
        })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Pairs {
        // SAFETY: as above.
        unsafe { from.cast::<Pairs>().read() }
    }

    #[inline(always)]
    fn spread<const WAY: usize>(of: Pairs) -> [f32; LANES] {
        Spread::PLACES[WAY].map(|place| of[place as usize])
    }

    #[inline(always)]
    fn times(a: Pairs, b: Pairs) -> Pairs {
        core::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn add(a: Pairs, b: Pairs) -> Pairs {
        core::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn pairs(of: Pairs) -> Pairs {
        of
    }

    #[inline(always)]
    fn add_product(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn plus(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn lanes(of: [f32; LANES]) -> [f32; LANES] {
        of
    }
}

unsafe fn round(a: Matrix<f32>, layout: Layout) -> Rounded {
    // SAFETY: the caller's promise.
    unsafe { Rounded::of(a, layout) }
}

unsafe fn task(task: &Task<'_>) {
    // SAFETY: the caller's promise.
    unsafe { run::<Plain>(task) }
}
