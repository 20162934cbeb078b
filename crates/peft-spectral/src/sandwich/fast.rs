use std::sync::Arc;

use rayon::prelude::*;

use super::Sandwich;
use crate::{
    Real,
    reduce::{add_blocks, blocks_of, part_rows},
    transform::{Scratch, Transform},
};

/// The update's product by fast transforms: analyse the row, mix the trained frequencies,
/// synthesise the result.
///
/// `O(N log N + M log M + places)` operations a row whatever the support: the cheapest way on a CPU
/// for large scattered supports, and the only reasonable one for wavelets. Same interface, same
/// `q` and same results (to rounding) as [`Factored`](super::Factored).
pub struct Fast<'a, T> {
    sandwich: &'a Sandwich,
    along_in: Arc<Transform<T>>,
    along_out: Arc<Transform<T>>,
}

/// One row's buffers.
struct Work<T> {
    in_scratch: Scratch<T>,
    out_scratch: Scratch<T>,
    in_wide: Vec<T>,
    out_wide: Vec<T>,
    in_line: Vec<T>,
    out_line: Vec<T>,
    z: Vec<T>,
    dq: Vec<T>,
}

impl<'a, T: Real> Fast<'a, T> {
    /// With the transforms of `sandwich`'s two widths.
    #[must_use]
    pub fn new(sandwich: &'a Sandwich) -> Self {
        Self {
            along_in: sandwich.in_transform(),
            along_out: sandwich.out_transform(),
            sandwich,
        }
    }

    fn work(&self) -> Work<T> {
        let zeros = |n: usize| vec![T::zero(); n];
        Work {
            in_scratch: self.along_in.scratch(),
            out_scratch: self.along_out.scratch(),
            in_wide: zeros(self.along_in.width()),
            out_wide: zeros(self.along_out.width()),
            in_line: zeros(self.along_in.features()),
            out_line: zeros(self.along_out.features()),
            z: zeros(self.sandwich.core().rows()),
            dq: zeros(self.sandwich.core().cols()),
        }
    }

    /// As [`Factored::forward`](super::Factored::forward).
    ///
    /// # Panics
    /// If the slices' lengths do not agree.
    pub fn forward(&self, x: &[T], a: &[T], gamma: T, y: &mut [T], q: &mut [T]) {
        let core = self.sandwich.core();
        let values = core.values(a, gamma);
        self.sandwich.check(x.len(), y.len(), q.len());
        x.par_chunks(self.sandwich.in_features())
            .zip(y.par_chunks_mut(self.sandwich.out_features()))
            .zip(q.par_chunks_mut(core.cols()))
            .for_each_init(
                || self.work(),
                |work, ((x, y), q)| {
                    self.along_in
                        .analyse_line(x, &mut work.in_wide, &mut work.in_scratch);
                    gather(&work.in_wide, self.sandwich.in_rows(), q);
                    core.mix(&values, q, &mut work.z);
                    // Frequencies outside the support are zero since the buffer was made.
                    scatter(&work.z, self.sandwich.out_rows(), &mut work.out_wide);
                    self.along_out.synthesise_line(
                        &work.out_wide,
                        &mut work.out_line,
                        &mut work.out_scratch,
                    );
                    add(&work.out_line, y);
                },
            );
    }

    /// As [`Factored::backward`](super::Factored::backward).
    ///
    /// # Panics
    /// If the slices' lengths do not agree.
    pub fn backward(
        &self,
        q: &[T],
        g: &[T],
        a: &[T],
        gamma: T,
        dx: Option<&mut [T]>,
        da: &mut [f64],
    ) {
        let core = self.sandwich.core();
        let (n, m) = (self.sandwich.in_features(), self.sandwich.out_features());
        let values = core.values(a, gamma);
        let rows = g.len() / m;
        self.sandwich.check(rows * n, g.len(), q.len());
        assert_eq!(
            da.len(),
            core.coefficients(),
            "one gradient per coefficient"
        );
        let part = part_rows(rows);
        let blocks = q
            .par_chunks(part * core.cols())
            .zip(g.par_chunks(part * m))
            .zip(blocks_of(dx, rows, part, n));
        add_blocks(da, blocks, |((q, g), mut dx), da| {
            let work = &mut self.work();
            let rows = q.chunks(core.cols()).zip(g.chunks(m));
            for (row, (q, g)) in rows.enumerate() {
                self.along_out
                    .analyse_line(g, &mut work.out_wide, &mut work.out_scratch);
                gather(&work.out_wide, self.sandwich.out_rows(), &mut work.z);
                core.accumulate(&work.z, q, gamma.wide(), da);
                let Some(dx) = dx.as_deref_mut() else {
                    continue;
                };
                core.mix_transposed(&values, &work.z, &mut work.dq);
                scatter(&work.dq, self.sandwich.in_rows(), &mut work.in_wide);
                self.along_in.synthesise_line(
                    &work.in_wide,
                    &mut work.in_line,
                    &mut work.in_scratch,
                );
                add(&work.in_line, &mut dx[row * n..][..n]);
            }
        });
    }
}

fn gather<T: Real>(wide: &[T], rows: &[u32], out: &mut [T]) {
    for (out, &row) in out.iter_mut().zip(rows) {
        *out = wide[row as usize];
    }
}

fn scatter<T: Real>(values: &[T], rows: &[u32], wide: &mut [T]) {
    for (&value, &row) in values.iter().zip(rows) {
        wide[row as usize] = value;
    }
}

fn add<T: Real>(line: &[T], out: &mut [T]) {
    for (out, &value) in out.iter_mut().zip(line) {
        *out += value;
    }
}
