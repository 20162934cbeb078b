//! Small complex DFTs, `b_k = Σ_j a_j e^{−2πijk/R}`.

use realfft::{FftNum, num_complex::Complex};

use super::{Bin, LANES, twiddle};

/// The DFT of `R` values. A trait and not closures: those are not always compiled with the caller's
/// instructions.
pub trait Butterfly<T, const R: usize> {
    fn of(&self, a: [Bin<T>; R]) -> [Bin<T>; R];
}

pub struct Two;

impl<T: FftNum> Butterfly<T, 2> for Two {
    #[inline(always)]
    fn of(&self, [a, b]: [Bin<T>; 2]) -> [Bin<T>; 2] {
        [sum(&a, &b), difference(&a, &b)]
    }
}

pub struct Four;

impl<T: FftNum> Butterfly<T, 4> for Four {
    #[inline(always)]
    fn of(&self, [a, b, c, d]: [Bin<T>; 4]) -> [Bin<T>; 4] {
        let (even, even_difference) = (sum(&a, &c), difference(&a, &c));
        let (odd, odd_difference) = (sum(&b, &d), difference(&b, &d));
        // −i times the difference.
        let mut low = Bin::zero();
        let mut high = Bin::zero();
        for i in 0..LANES {
            low.re[i] = even_difference.re[i] + odd_difference.im[i];
            low.im[i] = even_difference.im[i] - odd_difference.re[i];
            high.re[i] = even_difference.re[i] - odd_difference.im[i];
            high.im[i] = even_difference.im[i] + odd_difference.re[i];
        }
        [sum(&even, &odd), low, difference(&even, &odd), high]
    }
}

/// The DFT of an odd prime, its pairs of conjugate roots done together.
#[derive(Debug, Clone)]
pub struct Odd<T> {
    /// `e^{−2πij/R}`.
    roots: Vec<Complex<T>>,
}

impl<T: FftNum> Odd<T> {
    pub fn new(radix: usize) -> Self {
        let roots = (0..radix).map(|j| twiddle(j, radix)).collect();
        Self { roots }
    }
}

impl<T: FftNum, const R: usize> Butterfly<T, R> for Odd<T> {
    #[inline(always)]
    fn of(&self, a: [Bin<T>; R]) -> [Bin<T>; R] {
        let roots: &[Complex<T>] = &self.roots[..R];
        let mut out = [a[0]; R];
        for j in 1..=R / 2 {
            out[0] = sum(&out[0], &sum(&a[j], &a[R - j]));
        }
        for k in 1..=R / 2 {
            let (mut level, mut across) = (a[0], Bin::zero());
            for j in 1..=R / 2 {
                let root = roots[j * k % R];
                let (plus, minus) = (sum(&a[j], &a[R - j]), difference(&a[j], &a[R - j]));
                for i in 0..LANES {
                    level.re[i] = level.re[i] + plus.re[i] * root.re;
                    level.im[i] = level.im[i] + plus.im[i] * root.re;
                    across.re[i] = across.re[i] + minus.re[i] * root.im;
                    across.im[i] = across.im[i] + minus.im[i] * root.im;
                }
            }
            for i in 0..LANES {
                out[k].re[i] = level.re[i] - across.im[i];
                out[k].im[i] = level.im[i] + across.re[i];
                out[R - k].re[i] = level.re[i] + across.im[i];
                out[R - k].im[i] = level.im[i] - across.re[i];
            }
        }
        out
    }
}

#[inline(always)]
fn sum<T: FftNum>(a: &Bin<T>, b: &Bin<T>) -> Bin<T> {
    let mut out = Bin::zero();
    for i in 0..LANES {
        out.re[i] = a.re[i] + b.re[i];
        out.im[i] = a.im[i] + b.im[i];
    }
    out
}

#[inline(always)]
fn difference<T: FftNum>(a: &Bin<T>, b: &Bin<T>) -> Bin<T> {
    let mut out = Bin::zero();
    for i in 0..LANES {
        out.re[i] = a.re[i] - b.re[i];
        out.im[i] = a.im[i] - b.im[i];
    }
    out
}
