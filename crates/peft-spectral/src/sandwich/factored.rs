use rayon::prelude::*;

use super::Sandwich;
use crate::{
    Real,
    reduce::{add_blocks, blocks_of, part_rows},
};

/// The update's product by explicit basis rows: `((x Rᵀ) Kᵀ) L`.
///
/// `2(|R| N + |L| M + places)` operations a row, dense products that any device is good at. These
/// loops are the reference; on a device the two products are matrix products.
#[derive(Debug, Clone)]
pub struct Factored<'a, T> {
    sandwich: &'a Sandwich,
    in_basis: Vec<T>,
    out_basis: Vec<T>,
}

impl<'a, T: Real> Factored<'a, T> {
    /// With the basis rows of `sandwich`.
    #[must_use]
    pub fn new(sandwich: &'a Sandwich) -> Self {
        Self {
            in_basis: sandwich.in_basis(),
            out_basis: sandwich.out_basis(),
            sandwich,
        }
    }

    /// `y += γ ((x Rᵀ) Kᵀ) L`, and `q = x Rᵀ` for [`backward`](Self::backward).
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
        x.par_chunks(n)
            .zip(y.par_chunks_mut(m))
            .zip(q.par_chunks_mut(core.cols()))
            .for_each_init(
                || vec![T::zero(); core.rows()],
                |z, ((x, y), q)| {
                    products(&self.in_basis, x, q);
                    core.mix(&values, single(q), z.as_chunks_mut::<1>().0);
                    combine(&self.out_basis, z, y);
                },
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
        let part = part_rows(rows);
        let blocks = q
            .par_chunks(part * core.cols())
            .zip(g.par_chunks(part * m))
            .zip(blocks_of(dx, rows, part, n));
        let work = || (vec![T::zero(); core.rows()], vec![T::zero(); core.cols()]);
        add_blocks(da, blocks, work, |(p, dq), ((q, g), mut dx), da| {
            for (row, (q, g)) in q.chunks(core.cols()).zip(g.chunks(m)).enumerate() {
                products(&self.out_basis, g, p);
                core.accumulate(single(p), single(q), gamma.wide(), da);
                if let Some(dx) = dx.as_deref_mut() {
                    core.mix_transposed(&values, single(p), dq.as_chunks_mut::<1>().0);
                    combine(&self.in_basis, dq, &mut dx[row * n..][..n]);
                }
            }
        });
    }
}

impl Sandwich {
    /// Panics unless the slices are the same number of rows of inputs, outputs and projections.
    pub(crate) fn check(&self, x: usize, y: usize, q: usize) {
        let rows = x / self.in_features();
        assert!(
            (x, y, q)
                == (
                    rows * self.in_features(),
                    rows * self.out_features(),
                    rows * self.core().cols()
                ),
            "{x} inputs, {y} outputs and {q} projected values are not the same number of rows of \
             {}, {} and {}",
            self.in_features(),
            self.out_features(),
            self.core().cols()
        );
    }
}

/// A row as one lane.
fn single<T>(row: &[T]) -> &[[T; 1]] {
    row.as_chunks::<1>().0
}

/// `out[i] = ⟨rows[i], x⟩`.
fn products<T: Real>(rows: &[T], x: &[T], out: &mut [T]) {
    for (row, out) in rows.chunks(x.len()).zip(out) {
        *out = row.iter().zip(x).map(|(&a, &b)| a * b).sum();
    }
}

/// `out += Σ_i weights[i] rows[i]`.
fn combine<T: Real>(rows: &[T], weights: &[T], out: &mut [T]) {
    for (row, &weight) in rows.chunks(out.len()).zip(weights) {
        for (out, &value) in out.iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}
