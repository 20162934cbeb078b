//! AVX-512 BF16: two products for each number of a register.

use core::arch::x86_64::*;

use super::super::super::{F32x16, plan::Job};
use super::{BLOCK, Groups, LINES, Product, TILE, Unit, Units};

/// AVX-512 BF16.
pub const UNITS: Units = Units {
    name: "AVX-512 BF16",
    native: true,
    job,
    spin,
};

/// Rows whose sums fit into the registers, two wide.
const ROWS: usize = 8;

/// Whether the processor has the instructions.
pub fn is_there() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

/// 32 neighbours as 16 words, by the instruction for it. It takes numbers below the least normal one for zero, as the
/// products do.
///
/// # Safety
/// The instructions must be there, the numbers readable and the words writable.
#[inline(always)]
pub unsafe fn convert(from: *const f32, to: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let (first, second) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LINES)));
        let words: __m512i = core::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        _mm512_storeu_si512(to.cast(), words);
    }
}

struct Dot;

impl Unit for Dot {
    type V = F32x16;

    #[inline(always)]
    unsafe fn pairs(from: *const f32, to: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { convert(from, to) }
    }

    #[inline(always)]
    unsafe fn tile(left: Groups, right: Groups, blocks: usize, out: *mut f32) {
        for first in (0..TILE).step_by(ROWS) {
            // SAFETY: the caller's promise.
            unsafe {
                let left = left[first / LINES].add(first % LINES * LINES);
                dots(left, right, blocks, out.add(first * TILE));
            }
        }
    }
}

/// The sums of some rows.
#[inline(always)]
unsafe fn dots(left: *const u32, right: Groups, blocks: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for block in 0..blocks {
            for pair in 0..LINES {
                let at = block * BLOCK + pair * LINES;
                let columns: [__m512bh; 2] = [
                    core::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(
                        right[0].add(at).cast(),
                    )),
                    core::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(
                        right[1].add(at).cast(),
                    )),
                ];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let word = *left.add(block * BLOCK + i * LINES + pair);
                    let row: __m512bh = core::mem::transmute(_mm512_set1_epi32(word as i32));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, row, column);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (group, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(out.add(i * TILE + group * LINES), sum);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn job(product: &Product<'_>, job: &Job) {
    // SAFETY: the caller detected the instructions.
    unsafe { super::super::run::<Dot>(product, job) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn spin(rounds: usize) -> usize {
    const CHAINS: usize = 16;
    let factors = core::hint::black_box(_mm512_set1_epi32(0x3f00_3f00));
    // SAFETY: registers of the same size.
    let factors: __m512bh = unsafe { core::mem::transmute(factors) };
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, factors, factors);
        }
    }
    core::hint::black_box(sums);
    4 * CHAINS * LINES
}
