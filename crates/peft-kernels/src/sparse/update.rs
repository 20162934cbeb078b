use peft_simd::{Kernel, dispatch};
use rayon::prelude::*;

use super::{
    Scalar, SparsePattern,
    tile::{LANES, Lanes, add, pack},
};
use crate::{Applied, HostUpdate};

/// Places that one task works out the gradients of.
const GROUP: usize = 2048;
/// Tiles that are held feature by feature at a time in the backward pass.
const TILES: usize = 8;

/// A trained sparse change `S` of a weight, `y += x Sᵀ` for `S: [out, in]`, as a
/// [`RowUpdate`](crate::RowUpdate).
///
/// ```text
/// dx += dy S      dS[o, i] = Σ_t dy[t, o] x[t, i]   at the places of S only
/// ```
///
/// Neither `S` nor its gradient is ever dense. Where fewer than half of the inputs are used, only
/// those are kept for the gradients, else the input itself, which other operations may share.
///
/// Every row is worked on alone in the forward pass; gradients are summed up place by place, over the
/// rows in their order: no bit depends on the number of threads.
#[derive(Debug)]
pub struct SparseUpdate {
    in_features: usize,
    out_features: usize,
    /// Inputs and outputs with a place, rising; the patterns are over these.
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    by_output: SparsePattern,
    by_input: SparsePattern,
    /// Place of `by_output` for each of `by_input`.
    order: Vec<u32>,
    groups: Vec<core::ops::Range<usize>>,
    compact: bool,
}

impl SparseUpdate {
    /// The change with entries at places `[output, input]` that rise; values come in their order.
    ///
    /// # Panics
    /// If a place lies outside the weight `[out_features, in_features]`, or they do not rise.
    #[must_use]
    pub fn new(
        out_features: usize,
        in_features: usize,
        places: impl IntoIterator<Item = [u32; 2]>,
    ) -> Self {
        let whole = SparsePattern::new(out_features, in_features, places);
        let outputs: Vec<u32> = (0..out_features)
            .filter(|&row| !whole.row(row).is_empty())
            .map(|row| row as u32)
            .collect();
        let mut inputs = whole.columns().to_vec();
        inputs.sort_unstable();
        inputs.dedup();
        let mut among = vec![0; in_features];
        for (index, &input) in inputs.iter().enumerate() {
            among[input as usize] = index as u32;
        }
        let places = outputs.iter().enumerate().flat_map(|(index, &output)| {
            let row = &whole.columns()[whole.row(output as usize)];
            row.iter().map({
                let among = &among;
                move |&input| [index as u32, among[input as usize]]
            })
        });
        let by_output = SparsePattern::new(outputs.len(), inputs.len(), places);
        let (by_input, order) = by_output.transposed();
        Self {
            in_features,
            out_features,
            compact: 2 * inputs.len() <= in_features,
            groups: by_output.groups(GROUP),
            inputs,
            outputs,
            by_output,
            by_input,
            order,
        }
    }

    /// Inputs that have a place, rising.
    #[must_use]
    pub fn inputs(&self) -> &[u32] {
        &self.inputs
    }

    /// Outputs that have a place, rising.
    #[must_use]
    pub fn outputs(&self) -> &[u32] {
        &self.outputs
    }

    /// Places over [`outputs`](Self::outputs) × [`inputs`](Self::inputs), in the values' order.
    #[must_use]
    pub fn pattern(&self) -> &SparsePattern {
        &self.by_output
    }

    /// Floating-point operations a row, forward and backward together.
    #[must_use]
    pub fn flops_per_row(&self) -> usize {
        6 * self.by_output.places()
    }

    /// The used inputs of a tile of what [`forward`](Self::forward) kept.
    fn pack_kept<T: Scalar>(&self, kept: &[T], out: &mut [Lanes<T>]) {
        if self.compact {
            let width = self.inputs.len();
            let all: Vec<u32> = (0..width as u32).collect();
            pack(kept, width, &all, out);
        } else {
            pack(kept, self.in_features, &self.inputs, out);
        }
    }

    /// Values a row that are kept: the used inputs, or all.
    fn kept_width(&self) -> usize {
        match self.compact {
            true => self.inputs.len(),
            false => self.in_features,
        }
    }

    fn forward<T: Scalar>(&self, x: &[T], a: &[T], y: &mut [T], saved: &mut [T]) {
        let kept = self.saved_per_row();
        if a.is_empty() || x.is_empty() {
            return;
        }
        let zero = [T::default(); LANES];
        let tiles = x.par_chunks(LANES * self.in_features);
        let tiles = tiles.zip(y.par_chunks_mut(LANES * self.out_features));
        let work = |q: &mut Vec<Lanes<T>>, z: &mut Vec<Lanes<T>>, x: &[T], y: &mut [T]| {
            pack(x, self.in_features, &self.inputs, q);
            dispatch(Mix {
                pattern: &self.by_output,
                values: a,
                from: q,
                to: z,
            });
            add(z, &self.outputs, self.out_features, y);
        };
        let buffers = || {
            (
                vec![zero; self.inputs.len()],
                vec![zero; self.outputs.len()],
            )
        };
        if kept == 0 {
            tiles.for_each_init(buffers, |(q, z), (x, y)| work(q, z, x, y));
            return;
        }
        tiles.zip(saved.par_chunks_mut(LANES * kept)).for_each_init(
            buffers,
            |(q, z), ((x, y), saved)| {
                work(q, z, x, y);
                for (row, x) in saved.chunks_mut(kept).zip(x.chunks(self.in_features)) {
                    for (to, &input) in row.iter_mut().zip(&self.inputs) {
                        *to = x[input as usize];
                    }
                }
            },
        );
    }

    fn backward<T: Scalar>(
        &self,
        saved: &[T],
        dy: &[T],
        a: &[T],
        dx: Option<&mut [T]>,
        da: &mut [f64],
    ) {
        if a.is_empty() || dy.is_empty() {
            return;
        }
        let turned: Vec<T> = self.order.iter().map(|&place| a[place as usize]).collect();
        let (q_len, z_len) = (self.inputs.len(), self.outputs.len());
        let zero = [T::default(); LANES];
        let mut q = vec![zero; TILES * q_len];
        let mut z = vec![zero; TILES * z_len];
        let span = TILES * LANES;
        let mut dx = dx.map(|dx| dx.chunks_mut(span * self.in_features));
        let spans = saved.chunks(span * self.kept_width());
        for (saved, dy) in spans.zip(dy.chunks(span * self.out_features)) {
            let tiles = saved.par_chunks(LANES * self.kept_width());
            let tiles = tiles.zip(dy.par_chunks(LANES * self.out_features));
            let used = tiles.len();
            let packed = q.par_chunks_mut(q_len).zip(z.par_chunks_mut(z_len));
            tiles.zip(packed).for_each(|((saved, dy), (q, z))| {
                self.pack_kept(saved, q);
                pack(dy, self.out_features, &self.outputs, z);
            });
            let (q, z) = (&q[..used * q_len], &z[..used * z_len]);
            self.value_gradients(q, z, da);
            let Some(dx) = dx.as_mut().and_then(Iterator::next) else {
                continue;
            };
            dx.par_chunks_mut(LANES * self.in_features)
                .zip(z.par_chunks(z_len))
                .for_each_init(
                    || vec![zero; q_len],
                    |dq, (dx, z)| {
                        dispatch(Mix {
                            pattern: &self.by_input,
                            values: &turned,
                            from: z,
                            to: dq,
                        });
                        add(dq, &self.inputs, self.in_features, dx);
                    },
                );
        }
    }

    /// Adds what some tiles contribute to the gradients of the values.
    fn value_gradients<T: Scalar>(&self, q: &[Lanes<T>], z: &[Lanes<T>], da: &mut [f64]) {
        let mut parts = Vec::with_capacity(self.groups.len());
        let mut rest = da;
        for group in &self.groups {
            let places =
                self.by_output.row(group.end - 1).end - self.by_output.row(group.start).start;
            let (part, others) = rest.split_at_mut(places);
            parts.push((group.clone(), part));
            rest = others;
        }
        parts.into_par_iter().for_each(|(rows, da)| {
            let first = self.by_output.row(rows.start).start;
            let tiles = q
                .chunks(self.inputs.len())
                .zip(z.chunks(self.outputs.len()));
            for (q, z) in tiles {
                dispatch(Gradients {
                    pattern: &self.by_output,
                    rows: rows.clone(),
                    q,
                    z,
                    first,
                    da: &mut *da,
                });
            }
        });
    }
}

/// `to = K · from`.
struct Mix<'a, T> {
    pattern: &'a SparsePattern,
    values: &'a [T],
    from: &'a [Lanes<T>],
    to: &'a mut [Lanes<T>],
}

impl<T: Scalar> Kernel for Mix<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        (self.pattern).mix::<T, LANES, FMA>(self.values, self.from, self.to);
    }
}

/// `da[place] += Σ z q` over the rows of a tile.
struct Gradients<'a, T> {
    pattern: &'a SparsePattern,
    rows: core::ops::Range<usize>,
    q: &'a [Lanes<T>],
    z: &'a [Lanes<T>],
    /// Place of the first of `da`.
    first: usize,
    da: &'a mut [f64],
}

impl<T: Scalar> Kernel for Gradients<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { first, da, .. } = self;
        (self.pattern).accumulate::<T, LANES>(self.rows, self.z, self.q, |place, sum| {
            da[place - first] += sum.into();
        });
    }
}

macro_rules! applied {
    ($type:ty) => {
        impl Applied<$type> for SparseUpdate {
            fn forward(&self, x: &[$type], a: &[$type], y: &mut [$type], saved: &mut [$type]) {
                Self::forward(self, x, a, y, saved);
            }

            fn backward(
                &self,
                saved: &[$type],
                dy: &[$type],
                a: &[$type],
                dx: Option<&mut [$type]>,
                da: &mut [f64],
            ) {
                Self::backward(self, saved, dy, a, dx, da);
            }
        }
    };
}

applied!(f32);
applied!(f64);

impl HostUpdate for SparseUpdate {
    fn in_features(&self) -> usize {
        self.in_features
    }

    fn out_features(&self) -> usize {
        self.out_features
    }

    fn coefficients(&self) -> usize {
        self.by_output.places()
    }

    fn saved_per_row(&self) -> usize {
        match self.compact {
            true => self.inputs.len(),
            false => 0,
        }
    }

    fn keeps_input(&self) -> bool {
        !self.compact
    }
}
