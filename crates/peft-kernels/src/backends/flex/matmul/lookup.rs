//! Codes of four bits, looked up: what the sixteen of them mean in a block fills one register of AVX-512.

use core::arch::x86_64::*;

use peft_blocks::{BlockType, floats::half, nf4};

/// Decodes as many whole blocks as both slices have room for, to the bits of [`BlockType::decode`]; false, and nothing
/// done, for a type whose codes have not four bits.
///
/// # Safety
/// The machine must have AVX-512F, and this end up inlined into what is compiled for it.
#[inline(always)]
pub unsafe fn decode(kind: BlockType, bytes: &[u8], to: &mut [f32]) -> bool {
    // SAFETY: the caller's promise; each load and store lies inside of its array.
    unsafe {
        // No closures: they are functions that may not use these instructions, until all is one function.
        match kind {
            BlockType::Q4_0 => {
                let steps = _mm512_sub_ps(ramp(), _mm512_set1_ps(8.0));
                for (block, out) in pairs::<18, 32>(bytes, to) {
                    let scale = _mm512_set1_ps(half(word(block, 0)));
                    look_up(&block[2..], _mm512_mul_ps(scale, steps), out);
                }
            }
            BlockType::Q4_1 => {
                let steps = ramp();
                for (block, out) in pairs::<20, 32>(bytes, to) {
                    let scale = _mm512_set1_ps(half(word(block, 0)));
                    let least = _mm512_set1_ps(half(word(block, 2)));
                    let table = _mm512_add_ps(_mm512_mul_ps(scale, steps), least);
                    look_up(&block[4..], table, out);
                }
            }
            BlockType::Nf4 => {
                let codebook = _mm512_loadu_ps(nf4::CODEBOOK.as_ptr());
                for (block, out) in pairs::<36, { nf4::BLOCK }>(bytes, to) {
                    let largest = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
                    let table = _mm512_mul_ps(codebook, _mm512_set1_ps(largest));
                    let codes = block[4..].as_chunks::<8>().0;
                    for (codes, out) in codes.iter().zip(out.as_chunks_mut::<16>().0) {
                        let pairs = _mm512_cvtepu8_epi64(_mm_loadu_si64(codes.as_ptr()));
                        // The first of a pair is the high one. Only the lowest four bits of an index count.
                        let (high, low) =
                            (_mm512_srli_epi64(pairs, 4), _mm512_slli_epi64(pairs, 32));
                        let values = _mm512_permutexvar_ps(_mm512_or_si512(high, low), table);
                        _mm512_storeu_ps(out.as_mut_ptr(), values);
                    }
                }
            }
            _ => return false,
        }
    }
    true
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

/// Blocks, each with the room for its elements.
#[inline(always)]
fn pairs<'a, const BYTES: usize, const LEN: usize>(
    bytes: &'a [u8],
    to: &'a mut [f32],
) -> impl Iterator<Item = (&'a [u8; BYTES], &'a mut [f32; LEN])> {
    bytes.as_chunks().0.iter().zip(to.as_chunks_mut().0)
}

#[inline(always)]
fn word(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The low codes of 16 bytes, then the high ones.
#[inline(always)]
unsafe fn look_up(codes: &[u8], table: __m512, out: &mut [f32; 32]) {
    let codes: &[u8; 16] = codes.first_chunk().expect("a block of 32 codes");
    // SAFETY: as in `decode`.
    unsafe {
        // Only the lowest four bits of an index count.
        let low = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
        let high = _mm512_srli_epi32(low, 4);
        _mm512_storeu_ps(out.as_mut_ptr(), _mm512_permutexvar_ps(low, table));
        _mm512_storeu_ps(out.as_mut_ptr().add(16), _mm512_permutexvar_ps(high, table));
    }
}
