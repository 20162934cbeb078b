//! Codes of four bits, looked up: what the sixteen of them mean in a block fills one register of AVX-512. Bytes with a sign are
//! widened. Either is stored, or multiplied at once with a few rows.

use core::arch::x86_64::*;

use peft_blocks::{BlockType, floats::half, nf4, scale_and_min};

use super::super::blocks::AHEAD;

/// Numbers of a register.
const LANES: usize = 16;
/// Numbers of four of them.
const FOUR: usize = 4 * LANES;

/// What is done with the numbers of a line, in order.
trait Take {
    /// The bytes that are read next.
    #[inline(always)]
    fn reads(&self, at: *const u8) {
        let _ = at;
    }

    /// Takes the registers of numbers from the place `at` on, a multiple of [`FOUR`]; there are four or, at the end, two.
    ///
    /// # Safety
    /// The machine must have AVX-512F, and the places be there.
    unsafe fn take<const N: usize>(&mut self, at: usize, values: [__m512; N]);
}

/// Where the numbers are stored.
struct Store(*mut f32);

impl Take for Store {
    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self, at: usize, values: [__m512; N]) {
        for (i, values) in values.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(self.0.add(at + LANES * i), values) };
        }
    }
}

/// Sums of products with rows.
struct Dots<const ROWS: usize> {
    rows: [*const f32; ROWS],
    sums: [[__m512; ROWS]; 4],
}

impl<const ROWS: usize> Take for Dots<ROWS> {
    #[inline(always)]
    fn reads(&self, at: *const u8) {
        // SAFETY: a hint; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast()) }
    }

    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self, at: usize, values: [__m512; N]) {
        for (i, (values, sums)) in values.into_iter().zip(&mut self.sums).enumerate() {
            for (row, sum) in self.rows.iter().zip(sums) {
                // SAFETY: the caller's promise.
                unsafe {
                    *sum = _mm512_fmadd_ps(_mm512_loadu_ps(row.add(at + LANES * i)), values, *sum);
                }
            }
        }
    }
}

/// Decodes whole blocks, to the bits of [`BlockType::decode`]; false, and nothing done, for a type that is not looked up.
///
/// # Safety
/// The machine must have AVX-512F, and this end up inlined into what is compiled for it.
#[inline(always)]
pub unsafe fn decode(kind: BlockType, bytes: &[u8], to: &mut [f32]) -> bool {
    // SAFETY: the caller's promise; there is room for as many.
    unsafe { walk(kind, bytes, to.len(), &mut Store(to.as_mut_ptr())) }
}

/// The products of the `count` numbers of a line with those of rows, summed up: numbers 64 `i` + 16 `j` and the 15 behind it in the
/// sums `j`. None for a type that is not looked up.
///
/// # Safety
/// As for [`decode`]; the rows must be readable.
#[inline(always)]
pub unsafe fn dots<const ROWS: usize>(
    kind: BlockType,
    bytes: &[u8],
    count: usize,
    rows: [*const f32; ROWS],
) -> Option<[[__m512; ROWS]; 4]> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut dots = Dots {
            rows,
            sums: [[_mm512_setzero_ps(); ROWS]; 4],
        };
        walk(kind, bytes, count, &mut dots).then_some(dots.sums)
    }
}

#[inline(always)]
unsafe fn walk<T: Take>(kind: BlockType, bytes: &[u8], count: usize, to: &mut T) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            BlockType::Q4_0 => halves::<Q40, 18, T>(bytes, count, to),
            BlockType::Q4_1 => halves::<Q41, 20, T>(bytes, count, to),
            BlockType::Q8_0 => halves::<Q80, 34, T>(bytes, count, to),
            BlockType::Nf4 => nf4_blocks(bytes, count, to),
            BlockType::Q4K => q4_k(bytes, count, to),
            _ => return false,
        }
    }
    true
}

/// A type whose blocks have 32 numbers.
trait Short<const BYTES: usize> {
    /// # Safety
    /// As for [`decode`].
    unsafe fn numbers(block: &[u8; BYTES]) -> [__m512; 2];
}

/// Such blocks, two at a time.
#[inline(always)]
unsafe fn halves<S: Short<BYTES>, const BYTES: usize, T: Take>(
    bytes: &[u8],
    count: usize,
    to: &mut T,
) {
    let blocks = &bytes.as_chunks::<BYTES>().0[..count / 32];
    let (pairs, last) = blocks.as_chunks::<2>();
    // SAFETY: the caller's promise.
    unsafe {
        for (i, [first, second]) in pairs.iter().enumerate() {
            to.reads(first.as_ptr());
            to.reads(second.as_ptr());
            let ([a, b], [c, d]) = (S::numbers(first), S::numbers(second));
            to.take(FOUR * i, [a, b, c, d]);
        }
        if let [last] = last {
            to.take(FOUR * pairs.len(), S::numbers(last));
        }
    }
}

struct Q40;

impl Short<18> for Q40 {
    #[inline(always)]
    unsafe fn numbers(block: &[u8; 18]) -> [__m512; 2] {
        // SAFETY: the caller's promise; so below.
        unsafe {
            let steps = _mm512_sub_ps(ramp(), _mm512_set1_ps(8.0));
            let scale = _mm512_set1_ps(heads(block).0);
            look_up(
                _mm_loadu_si128(block[2..].as_ptr().cast()),
                _mm512_mul_ps(scale, steps),
            )
        }
    }
}

struct Q41;

impl Short<20> for Q41 {
    #[inline(always)]
    unsafe fn numbers(block: &[u8; 20]) -> [__m512; 2] {
        // SAFETY: as above.
        unsafe {
            let (scale, least) = heads(block);
            let (scale, least) = (_mm512_set1_ps(scale), _mm512_set1_ps(least));
            let table = _mm512_add_ps(_mm512_mul_ps(scale, ramp()), least);
            look_up(_mm_loadu_si128(block[4..].as_ptr().cast()), table)
        }
    }
}

struct Q80;

impl Short<34> for Q80 {
    #[inline(always)]
    unsafe fn numbers(block: &[u8; 34]) -> [__m512; 2] {
        // SAFETY: as above.
        unsafe {
            let scale = _mm512_set1_ps(heads(block).0);
            let first = _mm512_cvtepi8_epi32(_mm_loadu_si128(block[2..].as_ptr().cast()));
            let second = _mm512_cvtepi8_epi32(_mm_loadu_si128(block[18..].as_ptr().cast()));
            [
                _mm512_mul_ps(scale, _mm512_cvtepi32_ps(first)),
                _mm512_mul_ps(scale, _mm512_cvtepi32_ps(second)),
            ]
        }
    }
}

#[inline(always)]
unsafe fn nf4_blocks<T: Take>(bytes: &[u8], count: usize, to: &mut T) {
    const { assert!(nf4::BLOCK == FOUR) };
    // SAFETY: as above.
    unsafe {
        let codebook = _mm512_loadu_ps(nf4::CODEBOOK.as_ptr());
        let blocks = &bytes.as_chunks::<36>().0[..count / nf4::BLOCK];
        for (i, block) in blocks.iter().enumerate() {
            to.reads(block.as_ptr());
            let largest = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            let table = _mm512_mul_ps(codebook, _mm512_set1_ps(largest));
            let mut values = [table; 4];
            for (codes, values) in block[4..].as_chunks::<8>().0.iter().zip(&mut values) {
                let pairs = _mm512_cvtepu8_epi64(_mm_loadu_si64(codes.as_ptr()));
                // The first of a pair is the high one. Only the lowest four bits of an index count.
                let (high, low) = (_mm512_srli_epi64(pairs, 4), _mm512_slli_epi64(pairs, 32));
                *values = _mm512_permutexvar_ps(_mm512_or_si512(high, low), table);
            }
            to.take(nf4::BLOCK * i, values);
        }
    }
}

#[inline(always)]
unsafe fn q4_k<T: Take>(bytes: &[u8], count: usize, to: &mut T) {
    const LEN: usize = 256;
    let blocks = &bytes.as_chunks::<144>().0[..count / LEN];
    // SAFETY: as above.
    unsafe {
        for (i, block) in blocks.iter().enumerate() {
            let [_, _, _, _, packed @ ..] = block.first_chunk::<16>().expect("scales");
            let (d, dmin) = heads(block);
            let mut tables = [_mm512_setzero_ps(); 8];
            for (j, table) in tables.iter_mut().enumerate() {
                let (scale, min) = scale_and_min(packed, j);
                let (scale, min) = (_mm512_set1_ps(d * scale), _mm512_set1_ps(dmin * min));
                *table = _mm512_sub_ps(_mm512_mul_ps(scale, ramp()), min);
            }
            for (j, codes) in block[16..].as_chunks::<32>().0.iter().enumerate() {
                to.reads(codes.as_ptr());
                let first = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
                let second = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes[16..].as_ptr().cast()));
                let (low, high) = (tables[2 * j], tables[2 * j + 1]);
                let values = [
                    _mm512_permutexvar_ps(first, low),
                    _mm512_permutexvar_ps(second, low),
                    _mm512_permutexvar_ps(_mm512_srli_epi32(first, 4), high),
                    _mm512_permutexvar_ps(_mm512_srli_epi32(second, 4), high),
                ];
                to.take(LEN * i + FOUR * j, values);
            }
        }
    }
}

/// 0 to 15.
#[inline(always)]
unsafe fn ramp() -> __m512 {
    const RAMP: [f32; 16] = [
        0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
    ];
    // SAFETY: so many numbers; the instructions by the caller's promise.
    unsafe { _mm512_loadu_ps(RAMP.as_ptr()) }
}

/// The half floats that a block begins with: one, or two.
#[inline(always)]
fn heads<const BYTES: usize>(block: &[u8; BYTES]) -> (f32, f32) {
    // One load, which of single bytes compilers do not always make.
    let both = u32::from_le_bytes(*block.first_chunk().expect("so many bytes"));
    (half(both as u16), half((both >> 16) as u16))
}

/// The low codes of 16 bytes, then the high ones.
#[inline(always)]
unsafe fn look_up(codes: __m128i, table: __m512) -> [__m512; 2] {
    // SAFETY: as in `decode`.
    unsafe {
        // Only the lowest four bits of an index count.
        let low = _mm512_cvtepu8_epi32(codes);
        let high = _mm512_srli_epi32(low, 4);
        [
            _mm512_permutexvar_ps(low, table),
            _mm512_permutexvar_ps(high, table),
        ]
    }
}
