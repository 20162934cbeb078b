//! AVX-512 VNNI: four products of bytes for each number of a register, and their sum.

use core::arch::x86_64::*;

use super::super::super::super::blocks::AHEAD;
use super::super::super::Matrix;
use super::super::kinds::Layout;
use super::super::{GROUP, Rounded, Task, run};
use super::{LANES, Spread, Unit, Units};

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

/// The first bytes of a group, and the next ones; zeros behind `bytes`, which is less than 128.
#[inline(always)]
unsafe fn first_bytes(from: *const u8, bytes: usize) -> [__m512i; 2] {
    // SAFETY: the caller's promise; what a mask leaves out is not read.
    unsafe {
        let there = (1u128 << bytes) - 1;
        [
            _mm512_maskz_loadu_epi8(there as u64, from.cast()),
            _mm512_maskz_loadu_epi8((there >> 64) as u64, from.wrapping_add(64).cast()),
        ]
    }
}

#[inline(always)]
unsafe fn fetch<const LINES: usize>(from: *const u8) {
    for line in 0..LINES {
        // SAFETY: a hint; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(64 * line + AHEAD).cast()) }
    }
}

/// The low halves of bytes, and the high ones.
#[inline(always)]
unsafe fn low_and_high(bytes: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's promise; so below.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        let high = _mm512_srli_epi16::<4>(bytes);
        [_mm512_and_si512(bytes, mask), _mm512_and_si512(high, mask)]
    }
}

/// Eight half floats, the lowest words.
#[inline(always)]
unsafe fn halves(words: __m512i) -> __m256 {
    // SAFETY: as above.
    unsafe { _mm256_cvtph_ps(_mm512_castsi512_si128(words)) }
}

/// Places of 32 words, in which runs of neighbours begin at `first`, `len` long and `stride` apart.
const fn places(first: usize, len: usize, stride: usize) -> [i16; 32] {
    let mut all = [0; 32];
    let mut i = 0;
    while i < 32 {
        all[i] = (first + i / len * stride + i % len) as i16;
        i += 1;
    }
    all
}

/// Words of two registers, by their places.
#[inline(always)]
unsafe fn words(of: [__m512i; 2], places: &[i16; 32]) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_permutex2var_epi16(of[0], _mm512_loadu_epi16(places.as_ptr()), of[1]) }
}

/// The scales that blocks begin with, each twice, the second time by a factor.
#[inline(always)]
unsafe fn scales_twice<const WORDS: usize>(of: [__m512i; 2], least: f32) -> __m256 {
    const fn twice(stride: usize) -> [i16; 32] {
        let mut all = [0; 32];
        let mut i = 0;
        while i < 8 {
            all[i] = (i / 2 * stride) as i16;
            i += 1;
        }
        all
    }
    // SAFETY: as above.
    unsafe {
        let scales = halves(words(of, const { &twice(WORDS) }));
        let factors = _mm256_setr_ps(1.0, least, 1.0, least, 1.0, least, 1.0, least);
        _mm256_mul_ps(scales, factors)
    }
}

impl Unit for Vnni {
    type Codes = __m512i;
    type Floats = __m512;
    type Pairs = __m256;
    // SAFETY: numbers of zero bits.
    const ZERO: __m512 = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    const NO_PAIRS: __m256 = unsafe { core::mem::zeroed() };

    #[inline(always)]
    unsafe fn q4_0(from: *const u8, count: usize) -> (__m256, [__m512i; 2]) {
        // SAFETY: the caller's promise; so below.
        unsafe {
            fetch::<2>(from);
            let bytes = first_bytes(from, 18 * count);
            let codes = words(bytes, const { &places(1, 8, 9) });
            (scales_twice::<9>(bytes, -8.0), low_and_high(codes))
        }
    }

    #[inline(always)]
    unsafe fn q4_1(from: *const u8, count: usize) -> (__m256, [__m512i; 2]) {
        // SAFETY: as above.
        unsafe {
            fetch::<2>(from);
            let bytes = first_bytes(from, 20 * count);
            let codes = words(bytes, const { &places(2, 8, 10) });
            let pairs = halves(words(bytes, const { &places(0, 2, 10) }));
            (pairs, low_and_high(codes))
        }
    }

    #[inline(always)]
    unsafe fn q8_0(from: *const u8, count: usize) -> (__m256, [__m512i; 2]) {
        // SAFETY: as above.
        unsafe {
            fetch::<3>(from);
            // The scale of the last block lies in the second register, too.
            let bytes = first_bytes(from, (34 * count).min(127));
            let mut codes = [_mm512_setzero_si512(); 2];
            for (i, codes) in codes.iter_mut().enumerate() {
                let at = from.wrapping_add(68 * i + 2);
                let there =
                    [2 * i < count, 2 * i + 1 < count].map(|is| 0u32.wrapping_sub(is as u32));
                let first = _mm256_maskz_loadu_epi8(there[0], at.cast());
                let second = _mm256_maskz_loadu_epi8(there[1], at.wrapping_add(34).cast());
                let both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
                *codes = _mm512_xor_si512(both, _mm512_set1_epi8(-128));
            }
            (scales_twice::<17>(bytes, -128.0), codes)
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> [__m512i; 2] {
        // SAFETY: as above.
        unsafe {
            fetch::<1>(from);
            low_and_high(_mm512_loadu_si512(from.cast()))
        }
    }

    #[inline(always)]
    unsafe fn dot(codes: __m512i, with: *const i8) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let with = _mm512_loadu_si512(with.cast());
            _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, with))
        }
    }

    #[inline(always)]
    unsafe fn dot_both(codes: [__m512i; 2], with: *const i8) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (first, second) = (with.cast(), with.add(64).cast());
            let sums = _mm512_setzero_si512();
            let sums = _mm512_dpbusd_epi32(sums, codes[0], _mm512_loadu_si512(first));
            let sums = _mm512_dpbusd_epi32(sums, codes[1], _mm512_loadu_si512(second));
            _mm512_cvtepi32_ps(sums)
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    fn spread<const WAY: usize>(of: __m256) -> __m512 {
        // SAFETY: the instructions are there, by the promise of the trait; so below.
        unsafe {
            let places = _mm512_loadu_epi32(Spread::PLACES[WAY].as_ptr());
            _mm512_permutexvar_ps(places, _mm512_castps256_ps512(of))
        }
    }

    #[inline(always)]
    fn times(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn pairs(of: __m256) -> [f32; 2 * GROUP] {
        let mut pairs = [0.0; 2 * GROUP];
        // SAFETY: as above; there is room for eight numbers.
        unsafe { _mm256_storeu_ps(pairs.as_mut_ptr(), of) };
        pairs
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
    fn lanes(of: __m512) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: as above; there is room for sixteen numbers.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), of) };
        lanes
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn round(a: Matrix<f32>, layout: Layout) -> Rounded {
    // SAFETY: the caller's promise.
    unsafe { Rounded::of(a, layout) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn task(task: &Task<'_>) {
    // SAFETY: the caller's promise.
    unsafe { run::<Vnni>(task) }
}
