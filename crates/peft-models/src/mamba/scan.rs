//! The recurrence of a selective state space, by Burn's operations.

use burn::{Tensor, tensor::Int};
use peft_core::kernels::RowLayout;

/// What a selective scan reads, all `[rows, …]` but for `a`.
pub struct Scan {
    /// Inputs, `[rows, D]`.
    pub u: Tensor<2>,
    /// Step widths above 0, `[rows, D]`.
    pub delta: Tensor<2>,
    /// Decay rates below 0, `[D, N]`.
    pub a: Tensor<2>,
    /// Input matrices, `[rows, N]`.
    pub b: Tensor<2>,
    /// Output matrices, `[rows, N]`.
    pub c: Tensor<2>,
    /// The state before the first row of every sequence, `[D, N]`; zeros if there is none.
    pub start: Option<Tensor<2>>,
}

impl Scan {
    /// Within each sequence, from its first state,
    ///
    /// ```text
    /// h[t] = exp(δ[t] a) ⊙ h[t − 1] + (δ[t] u[t]) b[t]ᵀ        y[t] = h[t] c[t]
    /// ```
    ///
    /// `[rows, D]`. Sequences go side by side, a step of all of them at a time.
    pub fn forward(self, rows: &RowLayout) -> Tensor<2> {
        let [channels, states] = self.a.dims();
        let (count, longest) = (rows.len(), rows.max_len());
        let device = self.u.device();
        let (gather, scatter) = side_by_side(rows);
        let gather = Tensor::<1, Int>::from_ints(gather.as_slice(), &device);
        let [u, delta, b, c] =
            [self.u, self.delta, self.b, self.c].map(|x| x.select(0, gather.clone()));
        let a = self.a.reshape([1, channels, states]);
        let driven = delta.clone() * u;
        let start = self.start.map(|state| state.reshape([1, channels, states]));
        let mut state = start.map(|state| state.expand([count, channels, states]));
        let mut outputs = Vec::with_capacity(longest);
        for step in 0..longest {
            let at = |x: &Tensor<2>| x.clone().narrow(0, step * count, count);
            let columns = |x: &Tensor<2>| at(x).reshape([count, channels, 1]);
            let across = |x: &Tensor<2>| at(x).reshape([count, 1, states]);
            let input = columns(&driven) * across(&b);
            let next = match state {
                None => input,
                Some(state) => state * (columns(&delta) * a.clone()).exp() + input,
            };
            let output = next.clone() * across(&c);
            outputs.push(output.sum_dim(2).reshape([count, channels]));
            state = Some(next);
        }
        let scatter = Tensor::<1, Int>::from_ints(scatter.as_slice(), &device);
        Tensor::cat(outputs, 0).select(0, scatter)
    }
}

/// For each step and sequence the packed row it reads, and for each packed row where its output is. A
/// sequence that has ended repeats its own last row: nothing of it is read.
fn side_by_side(rows: &RowLayout) -> (Vec<i32>, Vec<i32>) {
    let (count, longest) = (rows.len(), rows.max_len());
    let row = |row: usize| i32::try_from(row).expect("fewer rows than an i32 can count");
    let spans: Vec<(usize, usize)> = rows
        .starts()
        .windows(2)
        .map(|s| (s[0], s[1] - s[0]))
        .collect();
    let gather = (0..longest)
        .flat_map(|step| {
            spans
                .iter()
                .map(move |(start, len)| start + step.min(len - 1))
        })
        .map(row);
    let scatter = spans
        .iter()
        .enumerate()
        .flat_map(|(place, (_, len))| (0..*len).map(move |step| step * count + place))
        .map(row);
    (gather.collect(), scatter.collect())
}
