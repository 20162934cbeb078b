use std::sync::Arc;

use peft_fft::{
    LaneFft, RealFft,
    num_complex::Complex,
    realfft::{ComplexToReal, RealToComplex},
};

use super::{Scratch, cos_sin};
use crate::real::Real;

/// Real FFTs of one length, and what the trigonometric bases add to them.
///
/// Each line is transformed on its own, also where many go side by side. Packing two lines into one
/// complex FFT would be as fast for odd lengths, but would leak the rounding of a large row (and any
/// NaN) into its neighbour.
#[derive(Clone)]
pub(crate) struct Fft<T> {
    len: usize,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    /// `e^{−iπk/2n}` times the row's norm, for the cosine transform.
    pub(super) twiddles: Vec<Complex<T>>,
    /// `1/√n`.
    pub(super) unit: T,
    /// For many lines at once, where the length allows it.
    pub(super) lanes: Option<LaneFft<T>>,
}

impl<T: Real> Fft<T> {
    pub(crate) fn new(len: usize) -> Self {
        let RealFft { forward, inverse } = T::real_fft(len);
        let n = len as f64;
        let twiddles = (0..=len / 2)
            .map(|k| {
                let norm = if k == 0 { 1.0 / n } else { 2.0 / n }.sqrt();
                let (cos, sin) = cos_sin(k as u64, 4 * len as u64);
                Complex::new(T::of(norm * cos), T::of(-norm * sin))
            })
            .collect();
        Self {
            len,
            forward,
            inverse,
            twiddles,
            unit: T::of(1.0 / n.sqrt()),
            lanes: LaneFft::new(len),
        }
    }

    pub(crate) fn scratch(&self) -> Scratch<T> {
        let work = self
            .forward
            .get_scratch_len()
            .max(self.inverse.get_scratch_len());
        Scratch {
            line: vec![T::zero(); self.len],
            half: vec![Complex::new(T::zero(), T::zero()); self.len / 2 + 1],
            work: vec![Complex::new(T::zero(), T::zero()); work],
        }
    }

    /// `half ← FFT(line)`, its first `⌊n/2⌋ + 1` bins.
    fn to_half(&self, scratch: &mut Scratch<T>) {
        self.forward
            .process_with_scratch(&mut scratch.line, &mut scratch.half, &mut scratch.work)
            .expect("buffers were made for this length");
    }

    /// `line ← Σ_k half_k e^{2πikj/n}` over all `n` bins, the upper ones conjugates of the lower.
    fn to_line(&self, scratch: &mut Scratch<T>) {
        // These bins of a real line are real; what rounding left there must not reach the plan,
        // which refuses it.
        scratch.half[0].im = T::zero();
        if self.len.is_multiple_of(2) {
            scratch.half[self.len / 2].im = T::zero();
        }
        self.inverse
            .process_with_scratch(&mut scratch.half, &mut scratch.line, &mut scratch.work)
            .expect("buffers were made for this length");
    }

    /// Orthonormal DCT-II by one FFT of the line's even places followed by its odd ones backwards
    /// (Makhoul, IEEE Trans. ASSP 28, 1980).
    pub(crate) fn cosine(&self, x: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        let n = self.len;
        let (even, odd) = scratch.line.split_at_mut(n.div_ceil(2));
        let pairs = x.chunks_exact(2);
        if let Some(last) = pairs.remainder().first() {
            even[n / 2] = *last;
        }
        let places = even.iter_mut().zip(odd.iter_mut().rev());
        for ((even, odd), pair) in places.zip(pairs) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        self.to_half(scratch);
        out[0] = scratch.half[0].re * self.twiddles[0].re;
        // Bin k gives values k and n − k; the middle bin of an even length gives one.
        let (low, high) = out[1..].split_at_mut(n / 2);
        let bins = scratch.half[1..].iter().zip(&self.twiddles[1..]);
        for (low, (bin, twiddle)) in low.iter_mut().zip(bins.clone()) {
            *low = bin.re * twiddle.re - bin.im * twiddle.im;
        }
        for (high, (bin, twiddle)) in high.iter_mut().rev().zip(bins) {
            *high = -(bin.re * twiddle.im + bin.im * twiddle.re);
        }
    }

    /// Orthonormal DCT-III, the inverse and transpose of [`cosine`](Self::cosine).
    pub(crate) fn cosine_inverse(&self, z: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        let n = self.len;
        let half = T::of(0.5);
        scratch.half[0] = Complex::new(z[0] * self.twiddles[0].re, T::zero());
        let values = z[1..].iter().zip(z[1..].iter().rev());
        let bins = scratch.half[1..].iter_mut().zip(&self.twiddles[1..]);
        for ((bin, twiddle), (&low, &high)) in bins.zip(values) {
            *bin = Complex::new(low * half, -(high * half)) * twiddle.conj();
        }
        self.to_line(scratch);
        let (even, odd) = scratch.line.split_at(n.div_ceil(2));
        for ((pair, even), odd) in out.chunks_exact_mut(2).zip(even).zip(odd.iter().rev()) {
            (pair[0], pair[1]) = (*even, *odd);
        }
        if n % 2 == 1 {
            out[n - 1] = even[n / 2];
        }
    }

    /// Discrete Hartley transform over `√n`; its own inverse.
    pub(crate) fn hartley(&self, x: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        scratch.line.copy_from_slice(x);
        self.to_half(scratch);
        for (k, bin) in scratch.half.iter().enumerate() {
            // The upper half first: bin 0 has no partner, and a middle bin is its own.
            if k > 0 {
                out[self.len - k] = (bin.re + bin.im) * self.unit;
            }
            out[k] = (bin.re - bin.im) * self.unit;
        }
    }

    /// Cosine and sine parts of the unitary DFT, `n` values each.
    pub(crate) fn fourier(&self, x: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        scratch.line.copy_from_slice(x);
        self.to_half(scratch);
        let (cos, sin) = out.split_at_mut(self.len);
        for (k, bin) in scratch.half.iter().enumerate() {
            if k > 0 {
                cos[self.len - k] = bin.re * self.unit;
                sin[self.len - k] = bin.im * self.unit;
            }
            cos[k] = bin.re * self.unit;
            sin[k] = -(bin.im * self.unit);
        }
        // Sine rows of self-conjugate frequencies are zero, not rounding.
        sin[0] = T::zero();
        if self.len.is_multiple_of(2) {
            sin[self.len / 2] = T::zero();
        }
    }

    /// Transpose of [`fourier`](Self::fourier).
    pub(crate) fn fourier_transposed(&self, z: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        let (cos, sin) = z.split_at(self.len);
        let scale = self.unit * T::of(0.5);
        scratch.half[0] = Complex::new(cos[0] * self.unit, T::zero());
        for k in 1..=self.len / 2 {
            let partner = self.len - k;
            scratch.half[k] = Complex::new(
                (cos[k] + cos[partner]) * scale,
                (sin[partner] - sin[k]) * scale,
            );
        }
        self.to_line(scratch);
        out.copy_from_slice(&scratch.line);
    }
}
