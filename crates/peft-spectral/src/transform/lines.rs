use peft_fft::num_complex::Complex;
use rayon::prelude::*;

use super::{Basis, fft::Fft, filter::Filter};
use crate::Real;

/// A fast transform along one axis, for many lines at once.
///
/// Lines are rows of a row-major matrix. Each is transformed alone, so results do not depend on
/// the number of threads or on what else is in the batch.
pub struct Transform<T> {
    basis: Basis,
    features: usize,
    pub(super) kind: Kind<T>,
}

pub(super) enum Kind<T> {
    Copy,
    Filter(Filter<T>),
    Cosine(Fft<T>),
    Hartley(Fft<T>),
    Fourier(Fft<T>),
}

/// Work space of one thread.
#[derive(Clone)]
pub(crate) struct Scratch<T> {
    pub(crate) line: Vec<T>,
    pub(crate) half: Vec<Complex<T>>,
    pub(crate) work: Vec<Complex<T>>,
}

impl<T: Real> Transform<T> {
    /// The transform of an axis of `features` by `basis`.
    ///
    /// # Panics
    /// If `features` is 0.
    #[must_use]
    pub fn new(basis: Basis, features: usize) -> Self {
        assert!(features > 0, "an axis must have at least one feature");
        let kind = match basis {
            Basis::Dct => Kind::Cosine(Fft::new(features)),
            Basis::Hartley => Kind::Hartley(Fft::new(features)),
            Basis::Fourier => Kind::Fourier(Fft::new(features)),
            Basis::Wavelet(wavelet) => Kind::Filter(Filter::new(wavelet)),
            Basis::Identity => Kind::Copy,
        };
        Self {
            basis,
            features,
            kind,
        }
    }

    /// The basis.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Values of a line before analysis.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Values of a line after analysis.
    #[must_use]
    pub fn width(&self) -> usize {
        self.basis.width(self.features)
    }

    /// `out = x Bᵀ`: `[lines, features]` to `[lines, width]`.
    ///
    /// # Panics
    /// If the slices are not whole numbers of lines, or of different numbers of them.
    pub fn analyse(&self, x: &[T], out: &mut [T]) {
        let width = self.width();
        check(x.len(), self.features, out.len(), width);
        x.par_chunks(self.features)
            .zip(out.par_chunks_mut(width))
            .for_each_init(
                || self.scratch(),
                |scratch, (x, out)| self.analyse_line(x, out, scratch),
            );
    }

    /// `out = z B`, the transpose and inverse of [`analyse`](Self::analyse): `[lines, width]` to
    /// `[lines, features]`.
    ///
    /// # Panics
    /// If the slices are not whole numbers of lines, or of different numbers of them.
    pub fn synthesise(&self, z: &[T], out: &mut [T]) {
        let width = self.width();
        check(z.len(), width, out.len(), self.features);
        z.par_chunks(width)
            .zip(out.par_chunks_mut(self.features))
            .for_each_init(
                || self.scratch(),
                |scratch, (z, out)| self.synthesise_line(z, out, scratch),
            );
    }

    pub(crate) fn scratch(&self) -> Scratch<T> {
        match &self.kind {
            Kind::Cosine(fft) | Kind::Hartley(fft) | Kind::Fourier(fft) => fft.scratch(),
            Kind::Copy | Kind::Filter(_) => Scratch {
                line: Vec::new(),
                half: Vec::new(),
                work: Vec::new(),
            },
        }
    }

    pub(crate) fn analyse_line(&self, x: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        match &self.kind {
            Kind::Copy => out.copy_from_slice(x),
            Kind::Filter(filter) => filter.analyse(x, out),
            Kind::Cosine(fft) => fft.cosine(x, out, scratch),
            Kind::Hartley(fft) => fft.hartley(x, out, scratch),
            Kind::Fourier(fft) => fft.fourier(x, out, scratch),
        }
    }

    pub(crate) fn synthesise_line(&self, z: &[T], out: &mut [T], scratch: &mut Scratch<T>) {
        match &self.kind {
            Kind::Copy => out.copy_from_slice(z),
            Kind::Filter(filter) => filter.synthesise(z, out),
            Kind::Cosine(fft) => fft.cosine_inverse(z, out, scratch),
            Kind::Hartley(fft) => fft.hartley(z, out, scratch),
            Kind::Fourier(fft) => fft.fourier_transposed(z, out, scratch),
        }
    }
}

fn check(from: usize, from_line: usize, to: usize, to_line: usize) {
    assert!(
        from.is_multiple_of(from_line)
            && to.is_multiple_of(to_line)
            && from / from_line == to / to_line,
        "{from} values in lines of {from_line} do not go into {to} values in lines of {to_line}"
    );
}
