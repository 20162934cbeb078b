//! The registers of each instruction set behind one trait.

use peft_blocks::BlockType;

use super::Real;

/// One register of numbers.
///
/// Every method must end up inlined into a function compiled for the instructions of the type.
pub trait Vector: Copy {
    /// A number.
    type Elem: Real;
    /// Numbers in a register.
    const LANES: usize;
    /// Rows of a tile two registers wide whose sums fit into the registers of the machine, with
    /// three to spare.
    const ROWS: usize;

    /// The same number everywhere.
    fn splat(x: Self::Elem) -> Self;

    /// # Safety
    /// `at` must be valid for reading `LANES` numbers.
    unsafe fn load(at: *const Self::Elem) -> Self;

    /// # Safety
    /// `at` must be valid for writing `LANES` numbers.
    unsafe fn store(self, at: *mut Self::Elem);

    /// `self · b + c`.
    fn multiply_add(self, b: Self, c: Self) -> Self;

    /// `self + b`.
    fn plus(self, b: Self) -> Self;

    /// Asks for the cache line at `at`, which need not be readable.
    #[inline(always)]
    fn prefetch(at: *const Self::Elem) {
        let _ = at;
    }

    /// The same into the second-level cache, for what is used later.
    #[inline(always)]
    fn prefetch_far(at: *const Self::Elem) {
        let _ = at;
    }

    /// Decodes whole blocks: [`Real::decode`], to its bits.
    #[inline(always)]
    fn decode(kind: BlockType, bytes: &[u8], narrow: &mut [f32], to: &mut [Self::Elem]) {
        Self::Elem::decode(kind, bytes, narrow, to);
    }

    /// The products of the `count` numbers of a line of whole blocks with rows, summed up: number `k` in lane `k mod LANES` of sum
    /// `k / LANES mod 4`. `None`, and nothing done, where this is no faster than to decode them first.
    ///
    /// # Safety
    /// The line must have so many numbers, and so the rows.
    #[inline(always)]
    unsafe fn block_dots<const ROWS: usize>(
        kind: BlockType,
        line: &[u8],
        count: usize,
        rows: [*const Self::Elem; ROWS],
    ) -> Option<[[Self; ROWS]; 4]> {
        let _ = (kind, line, count, rows);
        None
    }

    /// Transposes `LANES × LANES` numbers.
    ///
    /// # Safety
    /// The rows `from + i · stride` must be readable, the rows `to + i · to_stride` writable, and
    /// the two must not overlap.
    #[inline(always)]
    unsafe fn transpose(
        from: *const Self::Elem,
        stride: isize,
        to: *mut Self::Elem,
        to_stride: usize,
    ) {
        for k in 0..Self::LANES {
            for i in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe {
                    *to.add(k * to_stride + i) = *from.offset(i as isize * stride + k as isize);
                }
            }
        }
    }
}

/// Four numbers, for machines without a type of their own here. On 64-bit ARM they are a register.
#[derive(Clone, Copy)]
pub struct Four<T>([T; 4]);

impl<T: Real> Vector for Four<T> {
    type Elem = T;
    const LANES: usize = 4;
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 14 } else { 6 };

    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(at: *const T) -> Self {
        // SAFETY: the caller's promise; an array of numbers may lie anywhere.
        Self(unsafe { at.cast::<[T; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut T) {
        // SAFETY: as above.
        unsafe { at.cast::<[T; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn multiply_add(self, b: Self, c: Self) -> Self {
        // Without the instruction `mul_add` would be a library call for each number.
        const FUSED: bool = cfg!(target_arch = "aarch64");
        Self(core::array::from_fn(|i| {
            self.0[i].fma::<FUSED>(b.0[i], c.0[i])
        }))
    }
    #[inline(always)]
    fn plus(self, b: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] + b.0[i]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use peft_blocks::BlockType;

    use super::super::{Real, lookup};
    use super::Vector;

    macro_rules! register {
        (
            $(#[$doc:meta])* $name:ident($raw:ident) of $elem:ty; $lanes:literal lanes, $rows:literal rows;
            $set1:ident, $load:ident, $store:ident, $fma:ident, $add:ident; $($more:item)*
        ) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub struct $name($raw);

            impl Vector for $name {
                type Elem = $elem;
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;

                #[inline(always)]
                fn splat(x: $elem) -> Self {
                    // SAFETY: whoever uses the type has detected its instructions; so below.
                    Self(unsafe { $set1(x) })
                }
                #[inline(always)]
                unsafe fn load(at: *const $elem) -> Self {
                    // SAFETY: and the caller's promise.
                    Self(unsafe { $load(at) })
                }
                #[inline(always)]
                unsafe fn store(self, at: *mut $elem) {
                    // SAFETY: and the caller's promise.
                    unsafe { $store(at, self.0) }
                }
                #[inline(always)]
                fn multiply_add(self, b: Self, c: Self) -> Self {
                    // SAFETY: as for `splat`.
                    Self(unsafe { $fma(self.0, b.0, c.0) })
                }
                #[inline(always)]
                fn plus(self, b: Self) -> Self {
                    // SAFETY: as for `splat`.
                    Self(unsafe { $add(self.0, b.0) })
                }
                #[inline(always)]
                fn prefetch(at: *const $elem) {
                    // SAFETY: a hint; nothing is read.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
                }
                #[inline(always)]
                fn prefetch_far(at: *const $elem) {
                    // SAFETY: as above.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
                }
                $($more)*
            }
        };
    }

    register! {
        /// AVX-512, `f32`.
        F32x16(__m512) of f32; 16 lanes, 14 rows;
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_add_ps;
        #[inline(always)]
        fn decode(kind: BlockType, bytes: &[u8], narrow: &mut [f32], to: &mut [f32]) {
            // SAFETY: whoever uses the type has detected its instructions.
            if !unsafe { lookup::decode(kind, bytes, to) } {
                f32::decode(kind, bytes, narrow, to);
            }
        }
        #[inline(always)]
        unsafe fn block_dots<const ROWS: usize>(
            kind: BlockType,
            line: &[u8],
            count: usize,
            rows: [*const f32; ROWS],
        ) -> Option<[[Self; ROWS]; 4]> {
            // SAFETY: the caller's promise, and as for `decode`.
            let sums = unsafe { lookup::dots(kind, line, count, rows) }?;
            // No closures: as below.
            let mut own = [[Self(sums[0][0]); ROWS]; 4];
            for (own, sums) in own.iter_mut().zip(sums) {
                for (own, sum) in own.iter_mut().zip(sums) {
                    own.0 = sum;
                }
            }
            Some(own)
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: isize, to: *mut f32, to_stride: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                // No closures: they are functions that may not use these instructions, until all is one function.
                let mut r = [_mm512_setzero_ps(); 16];
                for (i, row) in r.iter_mut().enumerate() {
                    *row = _mm512_loadu_ps(from.offset(i as isize * stride));
                }
                // Pairs of numbers, then pairs of pairs, then quarters of registers, twice.
                let mut t = r;
                for i in 0..8 {
                    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
                }
                for i in 0..4 {
                    let (a, b) = (_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 1]));
                    let (c, d) = (_mm512_castps_pd(t[4 * i + 2]), _mm512_castps_pd(t[4 * i + 3]));
                    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
                }
                for i in 0..4 {
                    t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                    t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                    t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                    t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
                }
                for i in 0..8 {
                    r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
                    r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
                }
                for (i, row) in r.into_iter().enumerate() {
                    _mm512_storeu_ps(to.add(i * to_stride), row);
                }
            }
        }
    }

    register! {
        /// AVX-512, `f64`.
        F64x8(__m512d) of f64; 8 lanes, 14 rows;
        _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, _mm512_add_pd;
    }

    register! {
        /// AVX2, `f32`.
        F32x8(__m256) of f32; 8 lanes, 6 rows;
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps;
        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: isize, to: *mut f32, to_stride: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut r = [_mm256_setzero_ps(); 8];
                for (i, row) in r.iter_mut().enumerate() {
                    *row = _mm256_loadu_ps(from.offset(i as isize * stride));
                }
                let mut t = r;
                for i in 0..4 {
                    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
                }
                for i in 0..2 {
                    let (a, b) = (_mm256_castps_pd(t[4 * i]), _mm256_castps_pd(t[4 * i + 1]));
                    let (c, d) = (_mm256_castps_pd(t[4 * i + 2]), _mm256_castps_pd(t[4 * i + 3]));
                    r[4 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
                    r[4 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
                    r[4 * i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
                    r[4 * i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
                }
                for i in 0..4 {
                    t[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
                    t[i + 4] = _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
                }
                for (i, row) in t.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add(i * to_stride), row);
                }
            }
        }
    }

    register! {
        /// AVX2, `f64`.
        F64x4(__m256d) of f64; 4 lanes, 6 rows;
        _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, _mm256_add_pd;
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::*;
