//! Real FFTs of many lines side by side.
//!
//! A plan for one line has its work cut out to keep a vector unit busy with shuffles; sixteen lines,
//! value by value next to each other, need none: every operation is on sixteen lines at once. Each line
//! is transformed alone, whatever is in its neighbours.

mod radix;
mod stage;

use peft_simd::Kernel;
use realfft::{FftNum, num_complex::Complex};

use self::stage::{Stage, factors};
use crate::Planned;

/// Lines that are transformed together.
pub const LANES: usize = 16;

/// One place of [`LANES`] lines.
pub type Lanes<T> = [T; LANES];

/// One complex value of [`LANES`] lines.
#[derive(Debug, Clone, Copy)]
pub struct Bin<T> {
    /// Real parts.
    pub re: Lanes<T>,
    /// Imaginary parts.
    pub im: Lanes<T>,
}

impl<T: FftNum> Bin<T> {
    /// Zero in every line.
    #[must_use]
    pub fn zero() -> Self {
        Self {
            re: [T::zero(); LANES],
            im: [T::zero(); LANES],
        }
    }
}

/// Real FFTs of one length for [`LANES`] lines at once, without normalisation.
///
/// ```text
/// forward   X[k] = Σ_j x[j] e^{−2πijk/n},  0 ≤ k ≤ n/2
/// inverse   x[j] = Σ_k X[k] e^{+2πijk/n},  over all n bins, X[n − k] being conjugate to X[k]
/// ```
#[derive(Debug, Clone)]
pub struct LaneFft<T> {
    len: usize,
    stages: Vec<Stage<T>>,
    /// `e^{−2πik/n}`, `k ≤ n/2`, of an even length: it is done as a complex FFT of half of it.
    twiddles: Vec<Complex<T>>,
}

/// Work space of one thread.
#[derive(Debug, Clone)]
pub struct LaneWork<T> {
    from: Vec<Bin<T>>,
    to: Vec<Bin<T>>,
}

impl<T: FftNum> LaneFft<T> {
    /// The plan of a length, if its prime factors are 2, 3, 5, 7, 11 and 13: others need another
    /// algorithm.
    #[must_use]
    pub fn new(len: usize) -> Option<Self> {
        let even = len.is_multiple_of(2);
        let points = if even { len / 2 } else { len };
        let stages = Stage::all(points, &factors(points)?);
        let twiddles = match even {
            true => (0..=points).map(|k| twiddle(k, len)).collect(),
            false => Vec::new(),
        };
        Some(Self {
            len,
            stages,
            twiddles,
        })
    }

    /// The length, `n`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether lines are empty: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Number of bins, `⌊n/2⌋ + 1`.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.len / 2 + 1
    }

    /// Work space.
    #[must_use]
    pub fn work(&self) -> LaneWork<T> {
        let points = self.points();
        LaneWork {
            from: vec![Bin::zero(); points],
            to: vec![Bin::zero(); points],
        }
    }

    fn points(&self) -> usize {
        if self.twiddles.is_empty() {
            self.len
        } else {
            self.len / 2
        }
    }

    #[inline(always)]
    fn stages(&self, work: &mut LaneWork<T>) {
        for stage in &self.stages {
            stage.run(&work.from, &mut work.to);
            std::mem::swap(&mut work.from, &mut work.to);
        }
    }

    #[inline(always)]
    fn forward(&self, line: &[Lanes<T>], bins: &mut [Bin<T>], work: &mut LaneWork<T>) {
        assert_eq!((line.len(), bins.len()), (self.len, self.bins()), "lengths");
        if self.twiddles.is_empty() {
            for (point, &re) in work.from.iter_mut().zip(line) {
                *point = Bin {
                    re,
                    im: [T::zero(); LANES],
                };
            }
            self.stages(work);
            bins.copy_from_slice(&work.from[..bins.len()]);
            return;
        }
        // Even places are the real parts, odd ones the imaginary parts.
        for (point, pair) in work.from.iter_mut().zip(line.chunks_exact(2)) {
            (point.re, point.im) = (pair[0], pair[1]);
        }
        self.stages(work);
        let points = &work.from;
        let half = half::<T>();
        for (k, (bin, twiddle)) in bins.iter_mut().zip(&self.twiddles).enumerate() {
            // Values and not references: what is written must not be in the way of reading on.
            let (a, b, twiddle) = (
                points[k % points.len()],
                points[(points.len() - k) % points.len()],
                *twiddle,
            );
            for i in 0..LANES {
                // Spectra of the even and of the odd places.
                let (even_re, even_im) = (a.re[i] + b.re[i], a.im[i] - b.im[i]);
                let (odd_re, odd_im) = (a.im[i] + b.im[i], b.re[i] - a.re[i]);
                bin.re[i] = half * (even_re + odd_re * twiddle.re - odd_im * twiddle.im);
                bin.im[i] = half * (even_im + odd_re * twiddle.im + odd_im * twiddle.re);
            }
        }
    }

    #[inline(always)]
    fn inverse(&self, bins: &[Bin<T>], line: &mut [Lanes<T>], work: &mut LaneWork<T>) {
        assert_eq!((line.len(), bins.len()), (self.len, self.bins()), "lengths");
        // Real and imaginary parts change places before and after: that makes the inverse of a
        // forward transform.
        if self.twiddles.is_empty() {
            let points = work.from.len();
            for (k, bin) in bins.iter().enumerate() {
                let mut other = *bin;
                for im in &mut other.im {
                    *im = T::zero() - *im;
                }
                work.from[(points - k) % points] = swapped(&other);
                work.from[k] = swapped(bin);
            }
            // This bin of a real line is real.
            work.from[0].re = [T::zero(); LANES];
            self.stages(work);
            for (line, point) in line.iter_mut().zip(&work.from) {
                *line = point.im;
            }
            return;
        }
        let points = work.from.len();
        for (k, (point, twiddle)) in work.from.iter_mut().zip(&self.twiddles).enumerate() {
            let (a, b, twiddle) = (bins[k], bins[points - k], *twiddle);
            // The first and the last bin of a real line are real.
            let real = if k == 0 { T::zero() } else { T::one() };
            for i in 0..LANES {
                let (a_im, b_im) = (a.im[i] * real, b.im[i] * real);
                let (even_re, even_im) = (a.re[i] + b.re[i], a_im - b_im);
                let (re, im) = (a.re[i] - b.re[i], a_im + b_im);
                let odd_re = re * twiddle.re + im * twiddle.im;
                let odd_im = im * twiddle.re - re * twiddle.im;
                point.im[i] = even_re - odd_im;
                point.re[i] = even_im + odd_re;
            }
        }
        self.stages(work);
        for (pair, point) in line.chunks_exact_mut(2).zip(&work.from) {
            (pair[0], pair[1]) = (point.im, point.re);
        }
    }
}

fn swapped<T: Copy>(bin: &Bin<T>) -> Bin<T> {
    Bin {
        re: bin.im,
        im: bin.re,
    }
}

fn half<T: FftNum>() -> T {
    real(0.5)
}

/// The nearest value.
fn real<T: FftNum>(value: f64) -> T {
    T::from_f64(value).expect("a floating-point type")
}

/// `e^{−2πi · place / of}`.
fn twiddle<T: FftNum>(place: usize, of: usize) -> Complex<T> {
    let angle = std::f64::consts::TAU * (place % of) as f64 / of as f64;
    Complex::new(real(angle.cos()), real(-angle.sin()))
}

/// A forward transform, for the machine's instructions.
pub struct Forward<'a, T> {
    fft: &'a LaneFft<T>,
    line: &'a [Lanes<T>],
    bins: &'a mut [Bin<T>],
    work: &'a mut LaneWork<T>,
}

impl<T: FftNum> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.fft.forward(self.line, self.bins, self.work);
    }
}

/// An inverse transform, for the machine's instructions.
pub struct Inverse<'a, T> {
    fft: &'a LaneFft<T>,
    bins: &'a [Bin<T>],
    line: &'a mut [Lanes<T>],
    work: &'a mut LaneWork<T>,
}

impl<T: FftNum> Kernel for Inverse<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.fft.inverse(self.bins, self.line, self.work);
    }
}

impl<T: Planned> LaneFft<T> {
    /// `bins ← FFT(line)`.
    ///
    /// # Panics
    /// If `line` has not `n` places or `bins` not [`bins`](Self::bins).
    pub fn analyse(&self, line: &[Lanes<T>], bins: &mut [Bin<T>], work: &mut LaneWork<T>) {
        T::analyse(Forward {
            fft: self,
            line,
            bins,
            work,
        });
    }

    /// `line ← n · FFT⁻¹(bins)`; imaginary parts of bins that are real for every real line are ignored.
    ///
    /// # Panics
    /// If `line` has not `n` places or `bins` not [`bins`](Self::bins).
    pub fn synthesise(&self, bins: &[Bin<T>], line: &mut [Lanes<T>], work: &mut LaneWork<T>) {
        T::synthesise(Inverse {
            fft: self,
            bins,
            line,
            work,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealFft;

    fn noise(len: usize, lane: usize) -> Vec<f64> {
        (0..len)
            .map(|i| ((i * 7919 + lane * 104_729 + 13) % 1009) as f64 / 504.5 - 1.0)
            .collect()
    }

    #[test]
    fn every_lane_is_the_transform_of_its_line() {
        for len in (1..=130).chain([384, 896, 960, 1001, 1536, 2048]) {
            let Some(fft) = LaneFft::<f64>::new(len) else {
                let covered = |n: usize| {
                    let mut left = n;
                    for p in [2, 3, 5, 7, 11, 13] {
                        while left.is_multiple_of(p) {
                            left /= p;
                        }
                    }
                    left == 1
                };
                assert!(!covered(len), "{len}");
                continue;
            };
            let lines: Vec<Vec<f64>> = (0..LANES).map(|lane| noise(len, lane)).collect();
            let line: Vec<Lanes<f64>> = (0..len)
                .map(|j| std::array::from_fn(|lane| lines[lane][j]))
                .collect();
            let (mut bins, mut work) = (vec![Bin::zero(); fft.bins()], fft.work());
            fft.analyse(&line, &mut bins, &mut work);
            let RealFft { forward, .. } = f64::real_fft(len);
            let mut want = forward.make_output_vec();
            for (lane, values) in lines.iter().enumerate() {
                forward.process(&mut values.clone(), &mut want).unwrap();
                for (bin, want) in bins.iter().zip(&want) {
                    let (re, im) = (bin.re[lane] - want.re, bin.im[lane] - want.im);
                    assert!(re.abs().max(im.abs()) < 1e-12 * (len as f64), "{len}");
                }
            }
            let mut back = vec![[0.0; LANES]; len];
            fft.synthesise(&bins, &mut back, &mut work);
            for (back, line) in back.iter().zip(&line) {
                for (back, line) in back.iter().zip(line) {
                    assert!((back / len as f64 - line).abs() < 1e-13, "{len}");
                }
            }
        }
    }

    #[test]
    fn a_line_that_is_not_finite_stays_alone() {
        let fft = LaneFft::<f32>::new(48).unwrap();
        let mut line = vec![[1.0_f32; LANES]; 48];
        line[5][3] = f32::NAN;
        let (mut bins, mut work) = (vec![Bin::zero(); fft.bins()], fft.work());
        fft.analyse(&line, &mut bins, &mut work);
        for bin in &bins {
            for lane in 0..LANES {
                assert_eq!(bin.re[lane].is_nan(), lane == 3);
            }
        }
    }
}
