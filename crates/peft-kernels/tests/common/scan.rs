//! Cases of the selective scan, and their results by the definition.

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use super::numbers;

pub type Scan = fn(SelectiveScan, &RowLayout) -> (Tensor<2>, Tensor<3>);

/// A case: sequence lengths, channels, states, and whether there is what need not be.
#[derive(Clone, Copy, Debug)]
pub struct ScanCase {
    pub lengths: &'static [usize],
    pub d: usize,
    pub n: usize,
    pub gate: bool,
    pub bias: bool,
    pub initial: bool,
}

impl ScanCase {
    pub const fn new(lengths: &'static [usize], d: usize, n: usize, all: bool) -> Self {
        Self {
            lengths,
            d,
            n,
            gate: all,
            bias: all,
            initial: all,
        }
    }

    pub fn starts(self) -> Vec<usize> {
        let ends = self.lengths.iter().scan(0, |sum, l| {
            *sum += l;
            Some(*sum)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// `u`, `Δ`, `A_log`, `B`, `C`, skip, and those of gate, bias and initial states that there are.
    pub fn inputs(self) -> Vec<Vec<f64>> {
        let t: usize = self.lengths.iter().sum();
        let Self { d, n, .. } = self;
        let sizes = [
            (t * d, true),
            (t * d, true),
            (d * n, true),
            (t * n, true),
            (t * n, true),
            (d, true),
            (t * d, self.gate),
            (d, self.bias),
            (self.lengths.len() * d * n, self.initial),
        ];
        let there = (1..).zip(sizes).filter(|(_, (_, there))| *there);
        there.map(|(key, (size, _))| numbers(key, size)).collect()
    }

    /// The inputs as a scan takes them.
    pub fn shaped(self, x: Vec<Tensor<1>>) -> SelectiveScan {
        let t: usize = self.lengths.iter().sum();
        let Self { d, n, .. } = self;
        let mut x = x.into_iter();
        let mut next = || x.next().expect("as many as inputs");
        SelectiveScan {
            u: next().reshape([t, d]),
            delta: next().reshape([t, d]),
            a_log: next().reshape([d, n]),
            b: next().reshape([t, n]),
            c: next().reshape([t, n]),
            skip: next(),
            gate: self.gate.then(|| next().reshape([t, d])),
            delta_bias: self.bias.then(&mut next),
            initial: (self.initial).then(|| next().reshape([self.lengths.len(), d, n])),
        }
    }

    /// Output and last states, one behind the other.
    pub fn op(self, by: Scan, device: Device) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
        move |x| {
            let rows = RowLayout::new(self.starts(), &device);
            let (y, last) = by(self.shaped(x), &rows);
            Tensor::cat(vec![y.flatten(0, 1), last.flatten(0, 2)], 0)
        }
    }

    /// The definition, in `f64`, one number at a time.
    pub fn reference(self, x: &[Vec<f64>]) -> Vec<f64> {
        let Self { d, n, .. } = self;
        let mut rest = x[6..].iter();
        let gate = self.gate.then(|| rest.next().unwrap());
        let bias = self.bias.then(|| rest.next().unwrap());
        let initial = self.initial.then(|| rest.next().unwrap());
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let (mut y, mut last) = (vec![0.0; x[0].len()], Vec::new());
        for (sequence, span) in self.starts().windows(2).enumerate() {
            for channel in 0..d {
                let from = (sequence * d + channel) * n;
                let mut h = match initial {
                    Some(initial) => initial[from..from + n].to_vec(),
                    None => vec![0.0; n],
                };
                for t in span[0]..span[1] {
                    let at = t * d + channel;
                    let raw = x[1][at] + bias.map_or(0.0, |b| b[channel]);
                    let delta = (1.0 + raw.exp()).ln();
                    let mut sum = x[5][channel] * x[0][at];
                    for (i, h) in h.iter_mut().enumerate() {
                        let rate = -x[2][channel * n + i].exp();
                        *h = (delta * rate).exp() * *h + delta * x[0][at] * x[3][t * n + i];
                        sum += x[4][t * n + i] * *h;
                    }
                    y[at] = sum * gate.map_or(1.0, |z| z[at] * sigmoid(z[at]));
                }
                last.extend(h);
            }
        }
        [y, last].concat()
    }
}
