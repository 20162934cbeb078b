use std::sync::Arc;

use peft_fft::{LANES, Lanes};
use peft_simd::{Kernel, dispatch};
use rayon::prelude::*;

use super::{Core, Sandwich, side::Side};
use crate::{
    Real,
    reduce::{add_blocks, blocks_of, part_rows},
    transform::Transform,
};

/// The update's product by fast transforms: analyse the row, mix the trained frequencies,
/// synthesise the result.
///
/// `O(N log N + M log M + places)` operations a row whatever the support: the cheapest way on a CPU
/// for large scattered supports, and the only reasonable one for wavelets. Same interface and same
/// results (to rounding) as [`Factored`](super::Factored), but `q` holds its rows in blocks of 16,
/// frequency by frequency: so many rows go through all of it side by side.
pub struct Fast<'a, T> {
    sandwich: &'a Sandwich,
    along_in: Arc<Transform<T>>,
    along_out: Arc<Transform<T>>,
}

/// The buffers of a block of rows.
struct Work<'a, T> {
    along_in: Side<'a, T>,
    along_out: Side<'a, T>,
    q: Vec<Lanes<T>>,
    z: Vec<Lanes<T>>,
    dq: Vec<Lanes<T>>,
    /// Of the gradients of the places, over the blocks of a part.
    sums: Vec<Lanes<T>>,
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

    fn work(&self) -> Work<'_, T> {
        let lanes = |n: usize| vec![[T::zero(); LANES]; n];
        let core = self.sandwich.core();
        Work {
            along_in: Side::new(&self.along_in, self.sandwich.in_rows()),
            along_out: Side::new(&self.along_out, self.sandwich.out_rows()),
            q: lanes(core.cols()),
            z: lanes(core.rows()),
            dq: lanes(core.cols()),
            sums: lanes(core.places()),
        }
    }

    /// `y += γ ((x Rᵀ) Kᵀ) L`, and `q = x Rᵀ` for [`backward`](Self::backward), with the products by `R` and
    /// `L` done as fast transforms.
    ///
    /// `x` is `[rows, in]`, `y` `[rows, out]`, `a` the coefficients, `q` `[rows, |R|]`.
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
                    dispatch(Forward {
                        sandwich: self.sandwich,
                        values: &values,
                        work,
                        x,
                        y,
                        q,
                    });
                },
            );
    }

    /// `q = x Rᵀ` alone, `[rows, |R|]`, for inputs `[rows, in]`: what [`backward`](Self::backward) needs of a
    /// forward pass that was done another way.
    ///
    /// # Panics
    /// If the slices' lengths do not agree.
    pub fn project(&self, x: &[T], q: &mut [T]) {
        let (n, used) = (self.sandwich.in_features(), self.sandwich.in_rows());
        let rows = x.len() / n;
        self.sandwich
            .check(x.len(), rows * self.sandwich.out_features(), q.len());
        x.par_chunks(LANES * n)
            .zip(q.par_chunks_mut(LANES * used.len()))
            .for_each_init(
                || {
                    let lanes = vec![[T::zero(); LANES]; used.len()];
                    (Side::new(&self.along_in, used), lanes)
                },
                |(side, lanes), (x, q)| dispatch(Project { side, lanes, x, q }),
            );
    }

    /// Gradients of [`forward`](Self::forward): `dx += γ · ((g Lᵀ) K) R` and
    /// `da[l] += γ Σ_t ± (g Lᵀ)[t, u_l] q[t, v_l]`, accumulated in `f64`.
    ///
    /// `g` is the output's gradient `[rows, out]`, `dx` `[rows, in]`, if it is wanted. The input is not
    /// needed.
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
        add_blocks(
            da,
            blocks,
            || self.work(),
            |work, ((q, g), mut dx), da| {
                let blocks = q.chunks(LANES * core.cols()).zip(g.chunks(LANES * m));
                for (block, (q, g)) in blocks.enumerate() {
                    let rows = g.len() / m;
                    let dx = dx
                        .as_deref_mut()
                        .map(|dx| &mut dx[block * LANES * n..][..rows * n]);
                    dispatch(Backward {
                        sandwich: self.sandwich,
                        values: &values,
                        work,
                        q,
                        g,
                        dx,
                    });
                }
                dispatch(Sum {
                    core,
                    gamma: gamma.wide(),
                    sums: &mut work.sums,
                    da,
                });
            },
        );
    }
}

/// The forward pass of a block of rows.
struct Forward<'a, 'b, T> {
    sandwich: &'a Sandwich,
    values: &'a [T],
    work: &'a mut Work<'b, T>,
    x: &'a [T],
    y: &'a mut [T],
    q: &'a mut [T],
}

impl<T: Real> Kernel for Forward<'_, '_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (core, work) = (self.sandwich.core(), self.work);
        work.along_in.analyse(self.x, &mut work.q);
        store(&work.q, self.q);
        core.mix(self.values, &work.q, &mut work.z);
        work.along_out.synthesise(&work.z, self.y);
    }
}

/// The projection of a block of rows.
struct Project<'a, 'b, T> {
    side: &'a mut Side<'b, T>,
    lanes: &'a mut [Lanes<T>],
    x: &'a [T],
    q: &'a mut [T],
}

impl<T: Real> Kernel for Project<'_, '_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.side.analyse(self.x, self.lanes);
        store(self.lanes, self.q);
    }
}

/// The backward pass of a block of rows.
struct Backward<'a, 'b, T> {
    sandwich: &'a Sandwich,
    values: &'a [T],
    work: &'a mut Work<'b, T>,
    q: &'a [T],
    g: &'a [T],
    dx: Option<&'a mut [T]>,
}

impl<T: Real> Kernel for Backward<'_, '_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (core, work) = (self.sandwich.core(), self.work);
        load(self.q, &mut work.q);
        work.along_out.analyse(self.g, &mut work.z);
        core.accumulate_lanes(&work.z, &work.q, &mut work.sums);
        if let Some(dx) = self.dx {
            core.mix_transposed(self.values, &work.z, &mut work.dq);
            work.along_in.synthesise(&work.dq, dx);
        }
    }
}

/// The end of a part's backward pass.
struct Sum<'a, T> {
    core: &'a Core,
    gamma: f64,
    sums: &'a mut [Lanes<T>],
    da: &'a mut [f64],
}

impl<T: Real> Kernel for Sum<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.core.add_lanes(self.sums, self.gamma, self.da);
    }
}

/// Keeps the lanes in use: all of them, except in the last block.
#[inline(always)]
fn store<T: Real>(lanes: &[Lanes<T>], out: &mut [T]) {
    let used = out.len() / lanes.len();
    for (out, lanes) in out.chunks_mut(used).zip(lanes) {
        out.copy_from_slice(&lanes[..used]);
    }
}

/// Undoes [`store`]; lanes not in use are zero.
#[inline(always)]
fn load<T: Real>(stored: &[T], lanes: &mut [Lanes<T>]) {
    let used = stored.len() / lanes.len();
    for (lanes, stored) in lanes.iter_mut().zip(stored.chunks(used)) {
        lanes[used..].fill(T::zero());
        lanes[..used].copy_from_slice(stored);
    }
}
