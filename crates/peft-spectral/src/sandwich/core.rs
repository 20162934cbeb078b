use peft_core::kernels::SparsePattern;
use peft_fft::{LANES, Lanes};

use crate::Real;

/// The sparse core `K` of a sandwich, `[p, q]` in compressed rows: which coefficient, with which
/// sign, sits where.
///
/// A coefficient may sit in two places (cosine and sine); a place holds one coefficient. Within a
/// row, columns rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    coefficients: usize,
    pattern: SparsePattern,
    indices: Vec<u32>,
    signs: Vec<i8>,
}

/// A place of the core: `[row, column]`, coefficient, sign.
pub(crate) type Place = ([u32; 2], u32, i8);

impl Core {
    pub(crate) fn new(
        rows: usize,
        cols: usize,
        coefficients: usize,
        mut places: Vec<Place>,
    ) -> Self {
        places.sort_unstable();
        Self {
            coefficients,
            pattern: SparsePattern::new(rows, cols, places.iter().map(|place| place.0)),
            indices: places.iter().map(|place| place.1).collect(),
            signs: places.iter().map(|place| place.2).collect(),
        }
    }

    /// Rows `p`.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.pattern.rows()
    }

    /// Columns `q`.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.pattern.cols()
    }

    /// Number of coefficients.
    #[must_use]
    pub fn coefficients(&self) -> usize {
        self.coefficients
    }

    /// Occupied places: the number of coefficients, up to twice that for `Fourier`.
    #[must_use]
    pub fn places(&self) -> usize {
        self.pattern.places()
    }

    /// Where each row starts in the arrays below, and where the last one ends.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        self.pattern.starts()
    }

    /// Column of every place, row by row.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        self.pattern.columns()
    }

    /// Coefficient of every place.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Sign of every place, 1 or −1.
    #[must_use]
    pub fn signs(&self) -> &[i8] {
        &self.signs
    }

    /// Row of every place: with [`columns`](Self::columns), the coordinates of a scatter.
    #[must_use]
    pub fn row_of_places(&self) -> Vec<u32> {
        self.pattern.row_of_places()
    }

    /// `Kᵀ`, over the same coefficients.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let (pattern, order) = self.pattern.transposed();
        Self {
            coefficients: self.coefficients,
            pattern,
            indices: order.iter().map(|&i| self.indices[i as usize]).collect(),
            signs: order.iter().map(|&i| self.signs[i as usize]).collect(),
        }
    }

    /// The values of all places for coefficients `a`, times `scale`.
    ///
    /// # Panics
    /// If `a` has not one value per coefficient.
    #[must_use]
    pub fn values<T: Real>(&self, a: &[T], scale: T) -> Vec<T> {
        assert_eq!(a.len(), self.coefficients, "one value per coefficient");
        self.indices
            .iter()
            .zip(&self.signs)
            .map(|(&index, &sign)| {
                let value = a[index as usize] * scale;
                if sign < 0 { -value } else { value }
            })
            .collect()
    }

    pub(crate) fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.pattern.row(row)
    }

    /// `z[i] = Σ_j K[i, j] q[j]`, with the places' `values`, for `L` activation rows at once.
    #[inline(always)]
    pub(crate) fn mix<T: Real, const L: usize>(
        &self,
        values: &[T],
        q: &[[T; L]],
        z: &mut [[T; L]],
    ) {
        self.pattern.mix::<T, L, false>(values, q, z);
    }

    /// `q[j] = Σ_i K[i, j] z[i]`.
    #[inline(always)]
    pub(crate) fn mix_transposed<T: Real, const L: usize>(
        &self,
        values: &[T],
        z: &[[T; L]],
        q: &mut [[T; L]],
    ) {
        self.pattern.mix_transposed::<T, L, false>(values, z, q);
    }

    /// `da[l] += scale · Σ ± z[i] q[j]` over the places of coefficient `l`: the products of the
    /// activation rows are added up in `T`, then to the total in `f64`.
    #[inline(always)]
    pub(crate) fn accumulate<T: Real, const L: usize>(
        &self,
        z: &[[T; L]],
        q: &[[T; L]],
        scale: f64,
        da: &mut [f64],
    ) {
        (self.pattern).accumulate::<T, L>(0..self.rows(), z, q, |place, sum| {
            let signed = f64::from(self.signs[place]) * scale * sum.wide();
            da[self.indices[place] as usize] += signed;
        });
    }

    /// `sums[place] += z[i] q[j]`, lane by lane: [`accumulate`](Self::accumulate) but for what
    /// [`add_lanes`](Self::add_lanes) does for many blocks of activation rows together.
    #[inline(always)]
    pub(crate) fn accumulate_lanes<T: Real>(
        &self,
        z: &[Lanes<T>],
        q: &[Lanes<T>],
        sums: &mut [Lanes<T>],
    ) {
        for (row, &z) in z.iter().enumerate() {
            let places = self.row(row);
            let columns = &self.columns()[places.clone()];
            for (sum, &column) in sums[places].iter_mut().zip(columns) {
                let q = q[column as usize];
                for i in 0..LANES {
                    sum[i] += z[i] * q[i];
                }
            }
        }
    }

    /// Adds the places' sums to the gradients of their coefficients, `da[l] += scale · Σ ± sum`, and
    /// clears them.
    #[inline(always)]
    pub(crate) fn add_lanes<T: Real>(&self, sums: &mut [Lanes<T>], scale: f64, da: &mut [f64]) {
        let places = self.indices.iter().zip(&self.signs);
        for (lanes, (&index, &sign)) in sums.iter_mut().zip(places) {
            // Pairwise, in an order of its own, and a vector operation a level.
            let mut eight = [T::zero(); LANES / 2];
            for i in 0..LANES / 2 {
                eight[i] = lanes[i] + lanes[i + LANES / 2];
            }
            let mut four = [T::zero(); LANES / 4];
            for i in 0..LANES / 4 {
                four[i] = eight[i] + eight[i + LANES / 4];
            }
            let sum = (four[0] + four[2]) + (four[1] + four[3]);
            da[index as usize] += f64::from(sign) * scale * sum.wide();
            *lanes = [T::zero(); LANES];
        }
    }
}
