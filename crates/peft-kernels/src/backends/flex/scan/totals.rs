//! Sums of the numbers of each of 16 rows, by adding ever more of the rows to each other.
//!
//! Half of a row is added to its other half, and what is left of two rows shares one vector, four times. Every form adds
//! in the same order. Written as loops the compiler takes the vectors apart into single numbers (measured on an AMD Zen 5,
//! that was a sixth of the time of the scan's backward pass); so single precision has forms of its own.

use super::super::real::Real;

/// Rows, and numbers in each.
pub const SIDE: usize = 16;

type Square<T> = [[T; SIDE]; SIDE];

/// The sum of each row.
#[inline(always)]
pub fn totals<T: Real>(rows: &Square<T>) -> [T; SIDE] {
    #[cfg(target_arch = "x86_64")]
    if T::TYPE == f32::TYPE {
        let singles: &Square<f32> = bytemuck::cast_ref(rows);
        let sums = match peft_simd::level() {
            // SAFETY: the instructions were detected.
            peft_simd::Level::Avx512 => Some(unsafe { x86::avx512(singles) }),
            // SAFETY: as above.
            peft_simd::Level::Avx2 => Some(unsafe { x86::avx2(singles) }),
            peft_simd::Level::Common => None,
        };
        if let Some(sums) = sums {
            return bytemuck::cast(sums);
        }
    }
    plain(rows)
}

#[inline(always)]
fn plain<T: Real>(rows: &Square<T>) -> [T; SIDE] {
    let mut sums = [T::ZERO; SIDE];
    for (sum, row) in sums.iter_mut().zip(rows) {
        let mut parts = *row;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                parts[i] += parts[i + half];
            }
        }
        *sum = parts[0];
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{SIDE, Square};

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn avx512(rows: &Square<f32>) -> [f32; SIDE] {
        // SAFETY: a row is 16 numbers.
        let row = |r: usize| unsafe { _mm512_loadu_ps(rows[r].as_ptr()) };
        let zero = _mm512_setzero_ps();
        // Rows r and r + 8, a half of the vector each.
        let mut eights = [zero; 8];
        for (r, sum) in eights.iter_mut().enumerate() {
            let (a, b) = (row(r), row(r + 8));
            let low = _mm512_shuffle_f32x4::<0x44>(a, b);
            *sum = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0xEE>(a, b));
        }
        // Rows r, r + 8, r + 4 and r + 12, a quarter each.
        let mut fours = [zero; 4];
        for (r, sum) in fours.iter_mut().enumerate() {
            let (a, b) = (eights[r], eights[r + 4]);
            let low = _mm512_shuffle_f32x4::<0x88>(a, b);
            *sum = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0xDD>(a, b));
        }
        let both = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let sums = both(both(fours[0], fours[2]), both(fours[1], fours[3]));
        let ordered = _mm512_shuffle_f32x4::<0xD8>(sums, sums);
        let mut to = [0.0; SIDE];
        // SAFETY: there is room for 16 numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), ordered) };
        to
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn avx2(rows: &Square<f32>) -> [f32; SIDE] {
        // SAFETY: a row is 16 numbers.
        let halves = |r: usize| unsafe {
            let from = rows[r].as_ptr();
            _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)))
        };
        // Rows r and r + 8, a half of the vector each.
        let mut fours = [_mm256_setzero_ps(); 8];
        for (r, sum) in fours.iter_mut().enumerate() {
            let (a, b) = (halves(r), halves(r + 8));
            let low = _mm256_permute2f128_ps::<0x20>(a, b);
            *sum = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(a, b));
        }
        let both = |a, b| _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let mut to = [0.0; SIDE];
        for from in [0, 4] {
            let [a, b, c, d] = [0, 1, 2, 3].map(|r| fours[from + r]);
            // Rows from on in one half, those eight behind them in the other.
            let sums = both(both(a, c), both(b, d));
            // SAFETY: there is room for 16 numbers.
            unsafe {
                _mm_storeu_ps(to.as_mut_ptr().add(from), _mm256_castps256_ps128(sums));
                _mm_storeu_ps(
                    to.as_mut_ptr().add(from + 8),
                    _mm256_extractf128_ps::<1>(sums),
                );
            }
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_adds_in_the_same_order() {
        let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 7.0;
        let rows: Square<f32> =
            core::array::from_fn(|r| core::array::from_fn(|l| number(SIDE * r + l)));
        let expected = plain(&rows);
        assert_eq!(totals(&rows), expected);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the instructions were detected.
                assert_eq!(unsafe { x86::avx512(&rows) }, expected);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                assert_eq!(unsafe { x86::avx2(&rows) }, expected);
            }
        }
        let wide = rows.map(|row| row.map(f64::from));
        for (sum, row) in totals(&wide).into_iter().zip(&wide) {
            assert!((sum - row.iter().sum::<f64>()).abs() < 1e-12);
        }
    }
}
