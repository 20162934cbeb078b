//! Numbers one by one, for machines without units.

use peft_blocks::floats::half;

use super::super::super::Matrix;
use super::super::{RUN, Rounded, SPAN, Task, run};
use super::{Unit, Units};

/// Without units.
pub const UNITS: Units = Units {
    name: "no units for whole numbers",
    native: false,
    round,
    task,
};

/// Codes of two runs.
type Codes = [u8; 2 * RUN];
/// Neighbours whose products are one sum.
const FOUR: usize = 2 * RUN / SPAN;

struct Plain;

impl Unit for Plain {
    type Codes = Codes;
    type Floats = [f32; SPAN];

    #[inline(always)]
    unsafe fn nibbles(from: [*const u8; 2]) -> Codes {
        // SAFETY: the caller's promise.
        let bytes = from.map(|from| unsafe { from.cast::<[u8; RUN / 2]>().read() });
        core::array::from_fn(|i| bytes[i / RUN][i % 16] >> (i % RUN / 16 * 4) & 15)
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> Codes {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[u8; RUN]>().read() };
        core::array::from_fn(|i| bytes[i % RUN] >> (i / RUN * 4) & 15)
    }

    #[inline(always)]
    unsafe fn bytes(from: [*const u8; 2]) -> Codes {
        // SAFETY: the caller's promise.
        let bytes = from.map(|from| unsafe { from.cast::<[u8; RUN]>().read() });
        core::array::from_fn(|i| bytes[i / RUN][i % RUN] ^ 0x80)
    }

    #[inline(always)]
    unsafe fn dot(codes: Codes, with: *const i8) -> [f32; SPAN] {
        // SAFETY: the caller's promise.
        let with = unsafe { with.cast::<[i8; 2 * RUN]>().read() };
        core::array::from_fn(|lane| {
            let four = lane * FOUR..(lane + 1) * FOUR;
            let products = four.map(|i| i32::from(codes[i]) * i32::from(with[i]));
            products.sum::<i32>() as f32
        })
    }

    #[inline(always)]
    unsafe fn halves<const BYTES: usize>(
        from: *const u8,
        count: usize,
    ) -> ([f32; SPAN], [f32; SPAN]) {
        let (mut first, mut second) = ([0.0; SPAN], [0.0; SPAN]);
        for i in 0..count {
            // SAFETY: the caller's promise.
            let [a, b, c, d] = unsafe { from.add(i * BYTES).cast::<[u8; 4]>().read() };
            first[i] = half(u16::from_le_bytes([a, b]));
            second[i] = half(u16::from_le_bytes([c, d]));
        }
        (first, second)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; SPAN] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; SPAN]>().read() }
    }

    #[inline(always)]
    fn splat(value: f32) -> [f32; SPAN] {
        [value; SPAN]
    }

    #[inline(always)]
    fn spread(of: [f32; SPAN], pair: usize) -> [f32; SPAN] {
        core::array::from_fn(|i| of[2 * pair + i / (SPAN / 2)])
    }

    #[inline(always)]
    fn times(a: [f32; SPAN], b: [f32; SPAN]) -> [f32; SPAN] {
        core::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn add_product(a: [f32; SPAN], b: [f32; SPAN], c: [f32; SPAN]) -> [f32; SPAN] {
        core::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn plus(a: [f32; SPAN], b: [f32; SPAN]) -> [f32; SPAN] {
        core::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn lanes(of: [f32; SPAN]) -> [f32; SPAN] {
        of
    }
}

unsafe fn round(a: Matrix<f32>) -> Rounded {
    // SAFETY: the caller's promise.
    unsafe { Rounded::of(a) }
}

unsafe fn task(task: &Task<'_>) {
    // SAFETY: the caller's promise.
    unsafe { run::<Plain>(task) }
}
