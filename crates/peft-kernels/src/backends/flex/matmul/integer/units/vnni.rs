//! AVX-512 VNNI: four products of bytes for each number of a register, and their sum.

use core::arch::x86_64::*;

use super::super::super::super::blocks::AHEAD;
use super::super::super::Matrix;
use super::super::{Rounded, SPAN, Task, run};
use super::{Unit, Units};

/// AVX-512 VNNI.
pub const UNITS: Units = Units {
    name: "AVX-512 VNNI",
    native: true,
    round,
    task,
};

/// Whether the processor has the instructions.
pub fn is_there() -> bool {
    is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

struct Vnni;

/// The low halves of the bytes of every other part of a register, of 128 bits each, and the high ones of the others.
#[inline(always)]
unsafe fn low_and_high(both: __m512i, by: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_and_si512(_mm512_srlv_epi16(both, by), _mm512_set1_epi8(15)) }
}

impl Unit for Vnni {
    type Codes = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn nibbles(from: [*const u8; 2]) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm_loadu_si128(from[0].cast());
            let second = _mm_loadu_si128(from[1].cast());
            let both = _mm512_broadcast_i32x4(first);
            // Whole parts of four numbers.
            let both = _mm512_mask_broadcast_i32x4(both, 0xff00, second);
            // The second and the fourth part by 4 bits.
            let by = _mm512_set_epi64(
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0,
                0,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0,
                0,
            );
            low_and_high(both, by)
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
            let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(from.cast()));
            let four = 0x0004_0004_0004_0004;
            low_and_high(both, _mm512_set_epi64(four, four, four, four, 0, 0, 0, 0))
        }
    }

    #[inline(always)]
    unsafe fn bytes(from: [*const u8; 2]) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm256_loadu_si256(from[0].cast());
            let second = _mm256_loadu_si256(from[1].cast());
            let both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
            _mm512_xor_si512(both, _mm512_set1_epi8(-128))
        }
    }

    #[inline(always)]
    unsafe fn dot(codes: __m512i, with: *const i8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let with = _mm512_loadu_si512(with.cast());
            _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, with))
        }
    }

    #[inline(always)]
    unsafe fn halves<const BYTES: usize>(from: *const u8, count: usize) -> (__m512, __m512) {
        // SAFETY: the caller's promise; what the mask leaves out is not read.
        unsafe {
            for line in 0..(SPAN * BYTES).div_ceil(64) {
                let ahead = from.wrapping_add(64 * line + AHEAD);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            let places = _mm512_mullo_epi32(
                _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                _mm512_set1_epi32(BYTES as i32),
            );
            let there = ((1u32 << count) - 1) as __mmask16;
            let zeros = _mm512_setzero_si512();
            let words = _mm512_mask_i32gather_epi32::<1>(zeros, there, places, from.cast());
            let first = _mm512_cvtepi32_epi16(words);
            let second = _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16));
            (_mm512_cvtph_ps(first), _mm512_cvtph_ps(second))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    fn splat(value: f32) -> __m512 {
        // SAFETY: the instructions are there, by the promise of the trait; so below.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn spread(of: __m512, pair: usize) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let second = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
            let places = _mm512_add_epi32(second, _mm512_set1_epi32(2 * pair as i32));
            _mm512_permutexvar_ps(places, of)
        }
    }

    #[inline(always)]
    fn times(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add_product(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn plus(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn lanes(of: __m512) -> [f32; SPAN] {
        let mut lanes = [0.0; SPAN];
        // SAFETY: as above; there is room for sixteen numbers.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), of) };
        lanes
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn round(a: Matrix<f32>) -> Rounded {
    // SAFETY: the caller's promise.
    unsafe { Rounded::of(a) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn task(task: &Task<'_>) {
    // SAFETY: the caller's promise.
    unsafe { run::<Vnni>(task) }
}
