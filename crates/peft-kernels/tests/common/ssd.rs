//! Cases of the scan of Mamba-2, and their results by the definition.

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use super::numbers;

pub type Dual = fn(StateSpaceDual, &RowLayout) -> (Tensor<2>, Tensor<4>);

/// Sequence lengths, heads, channels, states, groups, and whether there are bias and initial states.
#[derive(Clone, Copy, Debug)]
pub struct DualCase(
    pub &'static [usize],
    pub usize,
    pub usize,
    pub usize,
    pub usize,
    pub bool,
);

const LIMIT: (f64, f64) = (0.05, 2.5);

impl DualCase {
    pub fn starts(self) -> Vec<usize> {
        let ends = self.0.iter().scan(0, |sum, l| {
            *sum += l;
            Some(*sum)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Input, steps, `ln(−A)`, `B`, `C`, skip, and bias and initial states where they are.
    pub fn inputs(self) -> Vec<Vec<f64>> {
        let Self(lengths, heads, p, n, groups, all) = self;
        let t: usize = lengths.iter().sum();
        let mut sizes = vec![
            t * heads * p,
            t * heads,
            heads,
            t * groups * n,
            t * groups * n,
            heads,
        ];
        if all {
            sizes.extend([heads, lengths.len() * heads * p * n]);
        }
        (1..).zip(sizes).map(|(key, n)| numbers(key, n)).collect()
    }

    /// The inputs as a scan takes them.
    pub fn shaped(self, x: Vec<Tensor<1>>) -> StateSpaceDual {
        let Self(lengths, heads, p, n, groups, _) = self;
        let t: usize = lengths.iter().sum();
        let mut x = x.into_iter();
        let mut next = || x.next().expect("as many as inputs");
        StateSpaceDual {
            x: next().reshape([t, heads * p]),
            dt: next().reshape([t, heads]),
            a_log: next(),
            b: next().reshape([t, groups * n]),
            c: next().reshape([t, groups * n]),
            skip: next(),
            dt_bias: self.5.then(&mut next),
            dt_limit: LIMIT,
            initial: self.5.then(|| next().reshape([lengths.len(), heads, p, n])),
            groups,
        }
    }

    /// Output and last states, one behind the other.
    pub fn op(self, by: Dual, device: Device) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
        move |x| {
            let rows = RowLayout::new(self.starts(), &device);
            let (y, last) = by(self.shaped(x), &rows);
            Tensor::cat(vec![y.flatten(0, 1), last.flatten(0, 3)], 0)
        }
    }

    /// The definition, in `f64`, one number at a time.
    pub fn reference(self, x: &[Vec<f64>]) -> Vec<f64> {
        let Self(_, heads, p, n, groups, all) = self;
        let (mut y, mut last) = (vec![0.0; x[0].len()], Vec::new());
        for (sequence, span) in self.starts().windows(2).enumerate() {
            for head in 0..heads {
                let group = head / (heads / groups);
                for channel in 0..p {
                    let from = ((sequence * heads + head) * p + channel) * n;
                    let mut h = match all {
                        true => x[7][from..from + n].to_vec(),
                        false => vec![0.0; n],
                    };
                    for t in span[0]..span[1] {
                        let raw = x[1][t * heads + head] + if all { x[6][head] } else { 0.0 };
                        let delta = (1.0 + raw.exp()).ln().clamp(LIMIT.0, LIMIT.1);
                        let decay = (-delta * x[2][head].exp()).exp();
                        let at = (t * heads + head) * p + channel;
                        y[at] = x[5][head] * x[0][at];
                        for (i, h) in h.iter_mut().enumerate() {
                            let entry = (t * groups + group) * n + i;
                            *h = decay * *h + delta * x[0][at] * x[3][entry];
                            y[at] += x[4][entry] * *h;
                        }
                    }
                    last.extend(h);
                }
            }
        }
        [y, last].concat()
    }
}
