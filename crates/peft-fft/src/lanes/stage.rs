use realfft::{FftNum, num_complex::Complex};

use super::{
    Bin, LANES,
    radix::{Butterfly, Four, Odd, Two},
    twiddle,
};

/// Prime factors that have code.
const ODD: [usize; 5] = [3, 5, 7, 11, 13];

/// The radices of a length, if all have code.
pub fn factors(mut points: usize) -> Option<Vec<usize>> {
    if points == 0 {
        return None;
    }
    let mut radices = Vec::new();
    for radix in [4, 2].into_iter().chain(ODD) {
        while points.is_multiple_of(radix) {
            radices.push(radix);
            points /= radix;
        }
    }
    (points == 1).then_some(radices)
}

/// One pass of a complex FFT that leaves its values in order (Stockham): with `n` points left to do,
/// `m = n / radix` and `s` the product of the radices before,
///
/// ```text
/// y[q + s (r p + k)] = e^{−2πi p k / n} Σ_j e^{−2πi j k / r} x[q + s (p + j m)]
/// ```
#[derive(Debug, Clone)]
pub struct Stage<T> {
    radix: usize,
    groups: usize,
    stride: usize,
    /// `e^{−2πi p k / n}` for `k = 1 .. radix`, group by group.
    twiddles: Vec<Complex<T>>,
    odd: Odd<T>,
}

impl<T: FftNum> Stage<T> {
    pub fn all(points: usize, radices: &[usize]) -> Vec<Self> {
        let (mut left, mut stride) = (points, 1);
        let stage = |&radix: &usize| {
            let groups = left / radix;
            let twiddles = (0..groups)
                .flat_map(|p| (1..radix).map(move |k| (p, k)))
                .map(|(p, k)| twiddle(p * k, left))
                .collect();
            let stage = Self {
                radix,
                groups,
                stride,
                twiddles,
                odd: Odd::new(radix),
            };
            (left, stride) = (groups, stride * radix);
            stage
        };
        radices.iter().map(stage).collect()
    }

    #[inline(always)]
    pub fn run(&self, x: &[Bin<T>], y: &mut [Bin<T>]) {
        match self.radix {
            2 => self.pass::<2>(x, y, &Two),
            4 => self.pass::<4>(x, y, &Four),
            3 => self.pass::<3>(x, y, &self.odd),
            5 => self.pass::<5>(x, y, &self.odd),
            7 => self.pass::<7>(x, y, &self.odd),
            11 => self.pass::<11>(x, y, &self.odd),
            13 => self.pass::<13>(x, y, &self.odd),
            other => unreachable!("no code for radix {other}"),
        }
    }

    #[inline(always)]
    fn pass<const R: usize>(
        &self,
        x: &[Bin<T>],
        y: &mut [Bin<T>],
        butterfly: &impl Butterfly<T, R>,
    ) {
        let (m, s) = (self.groups, self.stride);
        let twiddles = self.twiddles.chunks_exact(R - 1);
        for (p, (twiddles, y)) in twiddles.zip(y.chunks_exact_mut(s * R)).enumerate() {
            for q in 0..s {
                let mut a = [Bin::zero(); R];
                for (j, a) in a.iter_mut().enumerate() {
                    *a = x[q + s * (p + j * m)];
                }
                let b = butterfly.of(a);
                y[q] = b[0];
                for k in 1..R {
                    y[q + s * k] = times(b[k], twiddles[k - 1]);
                }
            }
        }
    }
}

#[inline(always)]
fn times<T: FftNum>(bin: Bin<T>, twiddle: Complex<T>) -> Bin<T> {
    let mut out = Bin::zero();
    for i in 0..LANES {
        out.re[i] = bin.re[i] * twiddle.re - bin.im[i] * twiddle.im;
        out.im[i] = bin.re[i] * twiddle.im + bin.im[i] * twiddle.re;
    }
    out
}
