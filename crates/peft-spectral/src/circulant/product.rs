use peft_fft::{num_complex::Complex, num_traits::Zero};
use rayon::prelude::*;

use super::{
    dense::check_block,
    dft::{BlockDft, Work},
};
use crate::{Real, SpectralError, reduce::part_rows};

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
    dft: BlockDft<T>,
    /// `F w / b`, `[P, Q, bins]`: the inverse transform's division is taken once, here.
    spectra: Vec<Complex<T>>,
}

impl<T: Real> BlockCirculant<T> {
    /// The update of `kernels` `[out/block, in/block, block]`, times `scale`.
    ///
    /// Pass [`peft_scale`](super::peft_scale) to reproduce Hugging Face.
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
        check_block(out_features, in_features, block)?;
        let (out_blocks, in_blocks) = (out_features / block, in_features / block);
        assert_eq!(
            kernels.len(),
            out_blocks * in_blocks * block,
            "kernels must be {out_blocks} x {in_blocks} x {block}"
        );
        let dft = BlockDft::new(block);
        let mut spectra = dft.spectra(out_blocks * in_blocks);
        dft.analyse(kernels, &mut spectra, &mut dft.work());
        let unit = T::of(1.0 / block as f64);
        for bin in &mut spectra {
            *bin = bin.scale(unit);
        }
        Ok(Self {
            out_blocks,
            in_blocks,
            block,
            scale,
            dft,
            spectra,
        })
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
                || (self.dft.work(), self.dft.spectra(self.in_blocks)),
                |(work, spectrum), (x, y)| {
                    self.dft.analyse(x, spectrum, work);
                    for (i, y) in y.chunks_mut(self.block).enumerate() {
                        let kernel = |j| i * self.in_blocks + j;
                        self.add_products(spectrum, kernel, Complex::conj, work, y);
                    }
                },
            );
    }

    /// `dx += g ΔW`, the input's gradient; `g` is `[rows, out]`, `dx` `[rows, in]`.
    ///
    /// PEFT 0.21.2's backward pass computes another product here (it reads the kernels the wrong
    /// way round); this is the derivative of the forward product.
    ///
    /// # Panics
    /// If the slices are not the same number of rows.
    pub fn input_gradient(&self, g: &[T], dx: &mut [T]) {
        self.check(dx.len(), g.len());
        g.par_chunks(self.out_features())
            .zip(dx.par_chunks_mut(self.in_features()))
            .for_each_init(
                || (self.dft.work(), self.dft.spectra(self.out_blocks)),
                |(work, spectrum), (g, dx)| {
                    self.dft.analyse(g, spectrum, work);
                    for (j, dx) in dx.chunks_mut(self.block).enumerate() {
                        let kernel = |i| i * self.in_blocks + j;
                        self.add_products(spectrum, kernel, |bin| *bin, work, dx);
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
        let bins = self.dft.bins();
        assert_eq!(
            dw.len(),
            self.out_blocks * self.in_blocks * self.block,
            "one gradient per kernel value"
        );
        let part = part_rows(x.len() / self.in_features());
        let parts: Vec<Vec<Complex<T>>> = x
            .par_chunks(part * self.in_features())
            .zip(g.par_chunks(part * self.out_features()))
            .map(|(x, g)| self.correlate(x, g))
            .collect();
        let mut work = self.dft.work();
        let scale = self.scale * T::of(1.0 / self.block as f64);
        for (kernel, dw) in dw.chunks_mut(self.block).enumerate() {
            let here = kernel * bins..(kernel + 1) * bins;
            work.sum.fill(Complex::zero());
            for part in &parts {
                for (sum, part) in work.sum.iter_mut().zip(&part[here.clone()]) {
                    *sum = *sum + part;
                }
            }
            self.dft.add_inverse(dw, scale, &mut work);
        }
    }

    /// `out += σ F⁻¹ Σ_j change(F w_kernel(j)) ∘ spectrum_j`.
    fn add_products(
        &self,
        spectrum: &[Complex<T>],
        kernel: impl Fn(usize) -> usize,
        change: impl Fn(&Complex<T>) -> Complex<T>,
        work: &mut Work<T>,
        out: &mut [T],
    ) {
        let bins = self.dft.bins();
        work.sum.fill(Complex::zero());
        for (j, line) in spectrum.chunks(bins).enumerate() {
            let kernel = &self.spectra[kernel(j) * bins..][..bins];
            for ((sum, w), value) in work.sum.iter_mut().zip(kernel).zip(line) {
                *sum = *sum + change(w) * value;
            }
        }
        self.dft.add_inverse(out, self.scale, work);
    }

    /// `Σ_rows conj(F g_i) ∘ F x_j` of a few rows, `[P, Q, bins]`.
    fn correlate(&self, x: &[T], g: &[T]) -> Vec<Complex<T>> {
        let bins = self.dft.bins();
        let mut work = self.dft.work();
        let mut sum = self.dft.spectra(self.out_blocks * self.in_blocks);
        let mut xs = self.dft.spectra(self.in_blocks);
        let mut gs = self.dft.spectra(self.out_blocks);
        let rows = x
            .chunks(self.in_features())
            .zip(g.chunks(self.out_features()));
        for (x, g) in rows {
            self.dft.analyse(x, &mut xs, &mut work);
            self.dft.analyse(g, &mut gs, &mut work);
            for (sum, g) in sum.chunks_mut(self.in_blocks * bins).zip(gs.chunks(bins)) {
                for (sum, x) in sum.chunks_mut(bins).zip(xs.chunks(bins)) {
                    for ((sum, g), x) in sum.iter_mut().zip(g).zip(x) {
                        *sum = *sum + g.conj() * x;
                    }
                }
            }
        }
        sum
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
