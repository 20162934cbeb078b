//! C3A's block-circulant product (Chen et al., "Parameter-Efficient Fine-Tuning via Circular
//! Convolution", arXiv 2407.19342), with Hugging Face PEFT's convention.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealToComplex, num_complex::Complex, num_traits::Zero};

use crate::{Real, SpectralError, real::with_planner};

/// Activation rows per partial sum of the kernels' gradient; fixed, so that bits do not depend on
/// the number of threads.
const ROWS: usize = 64;

/// A weight update of `P × Q` circulant blocks of side `b`, given by their kernels `w[P, Q, b]`.
///
/// ```text
/// ΔW[ib + t, jb + s] = σ · w[i, j, (s − t) mod b]         σ = 1/N in PEFT, N the input width
/// y[ib + t] += σ Σ_j Σ_s w[i, j, (s − t) mod b] x[jb + s]
/// ```
///
/// A block's first row is its kernel and every further row is the one above, shifted right. With
/// `F` the DFT of length `b`, `F y_i = σ Σ_j conj(F w_ij) ∘ F x_j`: `P + Q` FFTs and `P Q b/2` complex
/// products a row instead of `P Q b²` products.
pub struct BlockCirculant<T> {
    out_blocks: usize,
    in_blocks: usize,
    block: usize,
    scale: T,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    /// `F w / b`, `[P, Q, bins]`: the inverse transform's division is taken once, here.
    spectra: Vec<Complex<T>>,
}

/// Work space of one thread.
struct Work<T> {
    line: Vec<T>,
    work: Vec<Complex<T>>,
    bins: Vec<Complex<T>>,
}

impl<T: Real> BlockCirculant<T> {
    /// The update of `kernels` `[out/block, in/block, block]`, times `scale`.
    ///
    /// Pass [`peft_scale`] to reproduce Hugging Face.
    ///
    /// # Errors
    /// If `block` does not divide both widths.
    ///
    /// # Panics
    /// If `kernels` has not `out · in / block` values.
    pub fn new(
        kernels: &[T],
        out_features: usize,
        in_features: usize,
        block: usize,
        scale: T,
    ) -> Result<Self, SpectralError> {
        if block == 0 || out_features % block != 0 || in_features % block != 0 {
            return Err(SpectralError::Block {
                block,
                out_features,
                in_features,
            });
        }
        let (out_blocks, in_blocks) = (out_features / block, in_features / block);
        assert_eq!(
            kernels.len(),
            out_blocks * in_blocks * block,
            "kernels must be {out_blocks} x {in_blocks} x {block}"
        );
        let (forward, inverse) = with_planner(|planner| {
            (
                planner.plan_fft_forward(block),
                planner.plan_fft_inverse(block),
            )
        });
        let mut update = Self {
            out_blocks,
            in_blocks,
            block,
            scale,
            forward,
            inverse,
            spectra: Vec::new(),
        };
        let mut spectra = vec![Complex::zero(); out_blocks * in_blocks * update.bins()];
        update.analyse(kernels, &mut spectra, &mut update.work());
        let unit = T::of(1.0 / block as f64);
        for bin in &mut spectra {
            *bin = bin.scale(unit);
        }
        update.spectra = spectra;
        Ok(update)
    }

    /// Output features, `P · b`.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_blocks * self.block
    }

    /// Input features, `Q · b`.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.in_blocks * self.block
    }

    /// `y += x ΔWᵀ`; `x` is `[rows, in]`, `y` `[rows, out]`.
    ///
    /// # Panics
    /// If the slices are not the same number of rows.
    pub fn forward(&self, x: &[T], y: &mut [T]) {
        self.check(x.len(), y.len());
        x.par_chunks(self.in_features())
            .zip(y.par_chunks_mut(self.out_features()))
            .for_each_init(
                || (self.work(), Vec::new()),
                |(work, spectrum), (x, y)| {
                    spectrum.resize(self.in_blocks * self.bins(), Complex::zero());
                    self.analyse(x, spectrum, work);
                    for (i, y) in y.chunks_mut(self.block).enumerate() {
                        let mut sum = std::mem::take(&mut work.bins);
                        sum.fill(Complex::zero());
                        for (j, x) in spectrum.chunks(self.bins()).enumerate() {
                            for ((sum, w), x) in sum.iter_mut().zip(self.spectrum(i, j)).zip(x) {
                                *sum = *sum + w.conj() * x;
                            }
                        }
                        work.bins = sum;
                        self.add_inverse(y, self.scale, work);
                    }
                },
            );
    }

    /// `dx += g ΔW`, the input's gradient; `g` is `[rows, out]`, `dx` `[rows, in]`.
    ///
    /// PEFT 0.21.2's backward pass computes another product here (the kernel is read backwards);
    /// this is the derivative of the forward product.
    ///
    /// # Panics
    /// If the slices are not the same number of rows.
    pub fn input_gradient(&self, g: &[T], dx: &mut [T]) {
        self.check(dx.len(), g.len());
        g.par_chunks(self.out_features())
            .zip(dx.par_chunks_mut(self.in_features()))
            .for_each_init(
                || (self.work(), Vec::new()),
                |(work, spectrum), (g, dx)| {
                    spectrum.resize(self.out_blocks * self.bins(), Complex::zero());
                    self.analyse(g, spectrum, work);
                    for (j, dx) in dx.chunks_mut(self.block).enumerate() {
                        let mut sum = std::mem::take(&mut work.bins);
                        sum.fill(Complex::zero());
                        for (i, g) in spectrum.chunks(self.bins()).enumerate() {
                            for ((sum, w), g) in sum.iter_mut().zip(self.spectrum(i, j)).zip(g) {
                                *sum = *sum + w * g;
                            }
                        }
                        work.bins = sum;
                        self.add_inverse(dx, self.scale, work);
                    }
                },
            );
    }

    /// `dw[i, j, r] += σ Σ_rows Σ_t g[ib + t] x[jb + (t + r) mod b]`, the kernels' gradient.
    ///
    /// # Panics
    /// If the slices are not the same number of rows, or `dw` has another shape than the kernels.
    pub fn kernel_gradient(&self, x: &[T], g: &[T], dw: &mut [T]) {
        self.check(x.len(), g.len());
        let bins = self.bins();
        assert_eq!(
            dw.len(),
            self.out_blocks * self.in_blocks * self.block,
            "one gradient per kernel value"
        );
        let parts: Vec<Vec<Complex<T>>> = x
            .par_chunks(ROWS * self.in_features())
            .zip(g.par_chunks(ROWS * self.out_features()))
            .map(|(x, g)| {
                let mut work = self.work();
                let mut sum = vec![Complex::zero(); self.spectra.len()];
                let mut xs = vec![Complex::zero(); self.in_blocks * bins];
                let mut gs = vec![Complex::zero(); self.out_blocks * bins];
                let rows = x
                    .chunks(self.in_features())
                    .zip(g.chunks(self.out_features()));
                for (x, g) in rows {
                    self.analyse(x, &mut xs, &mut work);
                    self.analyse(g, &mut gs, &mut work);
                    let blocks = sum.chunks_mut(self.in_blocks * bins).zip(gs.chunks(bins));
                    for (sum, g) in blocks {
                        for (sum, x) in sum.chunks_mut(bins).zip(xs.chunks(bins)) {
                            for ((sum, g), x) in sum.iter_mut().zip(g).zip(x) {
                                *sum = *sum + g.conj() * x;
                            }
                        }
                    }
                }
                sum
            })
            .collect();
        let mut work = self.work();
        let scale = self.scale * T::of(1.0 / self.block as f64);
        for (kernel, dw) in dw.chunks_mut(self.block).enumerate() {
            let here = kernel * bins..(kernel + 1) * bins;
            work.bins.fill(Complex::zero());
            for part in &parts {
                for (sum, part) in work.bins.iter_mut().zip(&part[here.clone()]) {
                    *sum = *sum + part;
                }
            }
            self.add_inverse(dw, scale, &mut work);
        }
    }

    fn bins(&self) -> usize {
        self.block / 2 + 1
    }

    fn spectrum(&self, i: usize, j: usize) -> &[Complex<T>] {
        let first = (i * self.in_blocks + j) * self.bins();
        &self.spectra[first..first + self.bins()]
    }

    fn work(&self) -> Work<T> {
        let work = self
            .forward
            .get_scratch_len()
            .max(self.inverse.get_scratch_len());
        Work {
            line: vec![T::zero(); self.block],
            work: vec![Complex::zero(); work],
            bins: vec![Complex::zero(); self.bins()],
        }
    }

    /// The DFT of every block of `x`.
    fn analyse(&self, x: &[T], spectra: &mut [Complex<T>], work: &mut Work<T>) {
        for (x, out) in x.chunks(self.block).zip(spectra.chunks_mut(self.bins())) {
            work.line.copy_from_slice(x);
            self.forward
                .process_with_scratch(&mut work.line, out, &mut work.work)
                .expect("buffers were made for this length");
        }
    }

    /// `out += scale · Σ_k bins_k e^{2πikt/b}`.
    fn add_inverse(&self, out: &mut [T], scale: T, work: &mut Work<T>) {
        // Real in exact arithmetic; the plan refuses anything else.
        work.bins[0].im = T::zero();
        if self.block % 2 == 0 {
            work.bins[self.block / 2].im = T::zero();
        }
        self.inverse
            .process_with_scratch(&mut work.bins, &mut work.line, &mut work.work)
            .expect("buffers were made for this length");
        for (out, &value) in out.iter_mut().zip(&work.line) {
            *out += scale * value;
        }
    }

    fn check(&self, x: usize, y: usize) {
        let rows = x / self.in_features();
        assert!(
            (x, y) == (rows * self.in_features(), rows * self.out_features()),
            "{x} inputs and {y} outputs are not the same number of rows of {} and {}",
            self.in_features(),
            self.out_features()
        );
    }
}

/// The factor that PEFT multiplies a C3A update by: one over the input width.
#[must_use]
pub fn peft_scale(in_features: usize) -> f64 {
    1.0 / in_features as f64
}

/// `W += ΔW` of block-circulant `kernels` `[out/block, in/block, block]`, in place; `weight` is
/// row-major `[out, in]`. The values are read, not transformed, so nothing is rounded but the sum.
///
/// # Errors
/// If `block` does not divide both widths.
///
/// # Panics
/// If `kernels` or `weight` has another number of values than the widths imply.
pub fn merge_into<T: Real>(
    kernels: &[T],
    out_features: usize,
    in_features: usize,
    block: usize,
    scale: f64,
    weight: &mut [T],
) -> Result<(), SpectralError> {
    if block == 0 || out_features % block != 0 || in_features % block != 0 {
        return Err(SpectralError::Block {
            block,
            out_features,
            in_features,
        });
    }
    assert_eq!(kernels.len(), out_features * in_features / block);
    assert_eq!(weight.len(), out_features * in_features);
    weight
        .par_chunks_mut(in_features)
        .enumerate()
        .for_each(|(row, out)| {
            let (i, t) = (row / block, row % block);
            let kernels = &kernels[i * in_features..(i + 1) * in_features];
            for (out, kernel) in out.chunks_mut(block).zip(kernels.chunks(block)) {
                // Shifted right by t: the last t values come first.
                let shifted = kernel[block - t..].iter().chain(&kernel[..block - t]);
                for (out, &value) in out.iter_mut().zip(shifted) {
                    *out = T::of(out.wide() + scale * value.wide());
                }
            }
        });
    Ok(())
}
