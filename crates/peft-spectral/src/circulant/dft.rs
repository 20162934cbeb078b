use std::sync::Arc;

use peft_fft::{
    RealFft,
    num_complex::Complex,
    num_traits::Zero,
    realfft::{ComplexToReal, RealToComplex},
};

use crate::real::Real;

/// The real DFT of one block length, over all blocks of a row.
pub(super) struct BlockDft<T> {
    block: usize,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
}

/// Work space of one thread.
pub(super) struct Work<T> {
    line: Vec<T>,
    work: Vec<Complex<T>>,
    /// Bins on their way back; consumed by [`BlockDft::add_inverse`].
    pub(super) sum: Vec<Complex<T>>,
}

impl<T: Real> BlockDft<T> {
    pub(super) fn new(block: usize) -> Self {
        let RealFft { forward, inverse } = T::real_fft(block);
        Self {
            block,
            forward,
            inverse,
        }
    }

    /// Complex values of a block's spectrum.
    pub(super) fn bins(&self) -> usize {
        self.block / 2 + 1
    }

    pub(super) fn work(&self) -> Work<T> {
        let work = self
            .forward
            .get_scratch_len()
            .max(self.inverse.get_scratch_len());
        Work {
            line: vec![T::zero(); self.block],
            work: vec![Complex::zero(); work],
            sum: vec![Complex::zero(); self.bins()],
        }
    }

    /// Space for the spectra of `blocks` blocks.
    pub(super) fn spectra(&self, blocks: usize) -> Vec<Complex<T>> {
        vec![Complex::zero(); blocks * self.bins()]
    }

    /// The DFT of every block of `x`.
    pub(super) fn analyse(&self, x: &[T], spectra: &mut [Complex<T>], work: &mut Work<T>) {
        for (x, out) in x.chunks(self.block).zip(spectra.chunks_mut(self.bins())) {
            work.line.copy_from_slice(x);
            self.forward
                .process_with_scratch(&mut work.line, out, &mut work.work)
                .expect("buffers were made for this length");
        }
    }

    /// `out += scale · Σ_k sum_k e^{2πikt/b}`.
    pub(super) fn add_inverse(&self, out: &mut [T], scale: T, work: &mut Work<T>) {
        // Real in exact arithmetic; the plan refuses anything else.
        work.sum[0].im = T::zero();
        if self.block.is_multiple_of(2) {
            work.sum[self.block / 2].im = T::zero();
        }
        self.inverse
            .process_with_scratch(&mut work.sum, &mut work.line, &mut work.work)
            .expect("buffers were made for this length");
        for (out, &value) in out.iter_mut().zip(&work.line) {
            *out += scale * value;
        }
    }
}
