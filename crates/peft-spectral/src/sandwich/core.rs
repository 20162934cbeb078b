use std::ops::Range;

use peft_fft::{LANES, Lanes};

use crate::Real;

/// The sparse core `K` of a sandwich, `[p, q]` in compressed rows: which coefficient, with which
/// sign, sits where.
///
/// A coefficient may sit in two places (cosine and sine); a place holds one coefficient. Within a
/// row, columns rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    cols: usize,
    coefficients: usize,
    /// `[p + 1]`: row `i` is `starts[i] .. starts[i + 1]` of the arrays below.
    starts: Vec<u32>,
    columns: Vec<u32>,
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
        let mut starts = vec![0; rows + 1];
        for ([row, _], ..) in &places {
            starts[*row as usize + 1] += 1;
        }
        for i in 0..rows {
            starts[i + 1] += starts[i];
        }
        Self {
            cols,
            coefficients,
            starts,
            columns: places.iter().map(|place| place.0[1]).collect(),
            indices: places.iter().map(|place| place.1).collect(),
            signs: places.iter().map(|place| place.2).collect(),
        }
    }

    /// Rows `p`.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Columns `q`.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of coefficients.
    #[must_use]
    pub fn coefficients(&self) -> usize {
        self.coefficients
    }

    /// Occupied places: the number of coefficients, up to twice that for `Fourier`.
    #[must_use]
    pub fn places(&self) -> usize {
        self.columns.len()
    }

    /// Where each row starts in the arrays below, and where the last one ends.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Column of every place, row by row.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        &self.columns
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
        (0..self.rows())
            .flat_map(|row| self.row(row).map(move |_| row as u32))
            .collect()
    }

    /// `Kᵀ`, over the same coefficients.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let rows = self.row_of_places();
        let places = (0..self.places())
            .map(|i| ([self.columns[i], rows[i]], self.indices[i], self.signs[i]))
            .collect();
        Self::new(self.cols, self.rows(), self.coefficients, places)
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

    pub(crate) fn row(&self, row: usize) -> Range<usize> {
        self.starts[row] as usize..self.starts[row + 1] as usize
    }

    /// `z[i] = Σ_j K[i, j] q[j]`, with the places' `values`.
    pub(crate) fn mix<T: Real>(&self, values: &[T], q: &[T], z: &mut [T]) {
        for (row, out) in z.iter_mut().enumerate() {
            let places = self.row(row);
            *out = self.columns[places.clone()]
                .iter()
                .zip(&values[places])
                .map(|(&col, &value)| value * q[col as usize])
                .sum();
        }
    }

    /// `q[j] = Σ_i K[i, j] z[i]`.
    pub(crate) fn mix_transposed<T: Real>(&self, values: &[T], z: &[T], q: &mut [T]) {
        q.fill(T::zero());
        for (row, &z) in z.iter().enumerate() {
            for place in self.row(row) {
                q[self.columns[place] as usize] += values[place] * z;
            }
        }
    }

    /// `da[l] += scale · Σ ± z[i] q[j]` over the places of coefficient `l`.
    pub(crate) fn accumulate<T: Real>(&self, z: &[T], q: &[T], scale: f64, da: &mut [f64]) {
        for (row, z) in z.iter().enumerate() {
            let z = z.wide() * scale;
            for place in self.row(row) {
                let product = z * q[self.columns[place] as usize].wide();
                da[self.indices[place] as usize] += f64::from(self.signs[place]) * product;
            }
        }
    }

    /// [`mix`](Self::mix) of several activation rows at once: the indices are read once for all of them.
    #[inline(always)]
    pub(crate) fn mix_lanes<T: Real>(&self, values: &[T], q: &[Lanes<T>], z: &mut [Lanes<T>]) {
        for (row, out) in z.iter_mut().enumerate() {
            let mut sum = [T::zero(); LANES];
            for place in self.row(row) {
                let (value, q) = (values[place], q[self.columns[place] as usize]);
                for i in 0..LANES {
                    sum[i] += value * q[i];
                }
            }
            *out = sum;
        }
    }

    /// [`mix_transposed`](Self::mix_transposed) of several activation rows at once.
    #[inline(always)]
    pub(crate) fn mix_transposed_lanes<T: Real>(
        &self,
        values: &[T],
        z: &[Lanes<T>],
        q: &mut [Lanes<T>],
    ) {
        q.fill([T::zero(); LANES]);
        for (row, &z) in z.iter().enumerate() {
            for place in self.row(row) {
                let value = values[place];
                let out = &mut q[self.columns[place] as usize];
                for i in 0..LANES {
                    out[i] += value * z[i];
                }
            }
        }
    }

    /// `sums[place] += z[i] q[j]`, lane by lane: [`accumulate`](Self::accumulate) of several activation
    /// rows at once, but for what [`add_lanes`](Self::add_lanes) does for all blocks together.
    #[inline(always)]
    pub(crate) fn accumulate_lanes<T: Real>(
        &self,
        z: &[Lanes<T>],
        q: &[Lanes<T>],
        sums: &mut [Lanes<T>],
    ) {
        for (row, &z) in z.iter().enumerate() {
            let places = self.row(row);
            let columns = &self.columns[places.clone()];
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
