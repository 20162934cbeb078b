use std::sync::Arc;

use rayon::prelude::*;

use super::{
    Sandwich,
    core::{LANES, Lanes},
};
use crate::{
    Real,
    reduce::{add_blocks, blocks_of, part_rows},
    transform::{Scratch, Transform},
};

/// The update's product by fast transforms: analyse the row, mix the trained frequencies,
/// synthesise the result.
///
/// `O(N log N + M log M + places)` operations a row whatever the support: the cheapest way on a CPU
/// for large scattered supports, and the only reasonable one for wavelets. Same interface and same
/// results (to rounding) as [`Factored`](super::Factored), but `q` holds its rows in blocks of 16,
/// frequency by frequency.
pub struct Fast<'a, T> {
    sandwich: &'a Sandwich,
    along_in: Arc<Transform<T>>,
    along_out: Arc<Transform<T>>,
}

/// The buffers of a block of rows.
struct Work<T> {
    in_scratch: Scratch<T>,
    out_scratch: Scratch<T>,
    in_wide: Vec<T>,
    out_wide: Vec<T>,
    in_line: Vec<T>,
    out_line: Vec<T>,
    q: Vec<Lanes<T>>,
    z: Vec<Lanes<T>>,
    dq: Vec<Lanes<T>>,
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
        let lanes = |n: usize| vec![[T::zero(); LANES]; n];
        let core = self.sandwich.core();
        Work {
            in_scratch: self.along_in.scratch(),
            out_scratch: self.along_out.scratch(),
            in_wide: zeros(self.along_in.width()),
            out_wide: zeros(self.along_out.width()),
            in_line: zeros(self.along_in.features()),
            out_line: zeros(self.along_out.features()),
            q: lanes(core.cols()),
            z: lanes(core.rows()),
            dq: lanes(core.cols()),
        }
    }

    /// As [`Factored::forward`](super::Factored::forward).
    ///
    /// # Panics
    /// If the slices' lengths do not agree.
    pub fn forward(&self, x: &[T], a: &[T], gamma: T, y: &mut [T], q: &mut [T]) {
        let core = self.sandwich.core();
        let (n, m) = (self.sandwich.in_features(), self.sandwich.out_features());
        let values = core.values(a, gamma);
        self.sandwich.check(x.len(), y.len(), q.len());
        x.par_chunks(LANES * n)
            .zip(y.par_chunks_mut(LANES * m))
            .zip(q.par_chunks_mut(LANES * core.cols()))
            .for_each_init(
                || self.work(),
                |work, ((x, y), q)| {
                    for (lane, x) in x.chunks(n).enumerate() {
                        self.along_in
                            .analyse_line(x, &mut work.in_wide, &mut work.in_scratch);
                        gather(&work.in_wide, self.sandwich.in_rows(), lane, &mut work.q);
                    }
                    store(&work.q, q);
                    core.mix(&values, &work.q, &mut work.z);
                    for (lane, y) in y.chunks_mut(m).enumerate() {
                        // Frequencies outside the support are zero since the buffer was made.
                        scatter(&work.z, self.sandwich.out_rows(), lane, &mut work.out_wide);
                        self.along_out.synthesise_line(
                            &work.out_wide,
                            &mut work.out_line,
                            &mut work.out_scratch,
                        );
                        add(&work.out_line, y);
                    }
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
        let part = part_rows(rows).next_multiple_of(LANES);
        let blocks = q
            .par_chunks(part * core.cols())
            .zip(g.par_chunks(part * m))
            .zip(blocks_of(dx, rows, part, n));
        add_blocks(da, blocks, |((q, g), mut dx), da| {
            let work = &mut self.work();
            let blocks = q.chunks(LANES * core.cols()).zip(g.chunks(LANES * m));
            for (block, (q, g)) in blocks.enumerate() {
                load(q, &mut work.q);
                // Rows that the last block lacks must not count.
                work.z.fill([T::zero(); LANES]);
                for (lane, g) in g.chunks(m).enumerate() {
                    self.along_out
                        .analyse_line(g, &mut work.out_wide, &mut work.out_scratch);
                    gather(&work.out_wide, self.sandwich.out_rows(), lane, &mut work.z);
                }
                core.accumulate(&work.z, &work.q, gamma.wide(), da);
                let Some(dx) = dx.as_deref_mut() else {
                    continue;
                };
                core.mix_transposed(&values, &work.z, &mut work.dq);
                let dx = &mut dx[block * LANES * n..][..g.len() / m * n];
                for (lane, dx) in dx.chunks_mut(n).enumerate() {
                    scatter(&work.dq, self.sandwich.in_rows(), lane, &mut work.in_wide);
                    self.along_in.synthesise_line(
                        &work.in_wide,
                        &mut work.in_line,
                        &mut work.in_scratch,
                    );
                    add(&work.in_line, dx);
                }
            }
        });
    }
}

fn gather<T: Real>(wide: &[T], rows: &[u32], lane: usize, out: &mut [Lanes<T>]) {
    for (out, &row) in out.iter_mut().zip(rows) {
        out[lane] = wide[row as usize];
    }
}

fn scatter<T: Real>(values: &[Lanes<T>], rows: &[u32], lane: usize, wide: &mut [T]) {
    for (value, &row) in values.iter().zip(rows) {
        wide[row as usize] = value[lane];
    }
}

/// Keeps the lanes in use: all of them, except in the last block.
fn store<T: Real>(lanes: &[Lanes<T>], out: &mut [T]) {
    let used = out.len() / lanes.len();
    for (out, lanes) in out.chunks_mut(used).zip(lanes) {
        out.copy_from_slice(&lanes[..used]);
    }
}

/// Undoes [`store`]; lanes not in use are zero.
fn load<T: Real>(stored: &[T], lanes: &mut [Lanes<T>]) {
    let used = stored.len() / lanes.len();
    for (lanes, stored) in lanes.iter_mut().zip(stored.chunks(used)) {
        lanes[used..].fill(T::zero());
        lanes[..used].copy_from_slice(stored);
    }
}

fn add<T: Real>(line: &[T], out: &mut [T]) {
    for (out, &value) in out.iter_mut().zip(line) {
        *out += value;
    }
}
