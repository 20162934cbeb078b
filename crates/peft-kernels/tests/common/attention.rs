//! Cases of attention, and their results by the definition.

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use super::numbers;

type Plain = fn(Tensor<2>, Tensor<2>, Tensor<2>, &RowLayout, &AttentionOptions) -> Tensor<2>;
type Cached = fn(
    Tensor<2>,
    Tensor<2>,
    Tensor<2>,
    Option<AttentionPrefix>,
    &RowLayout,
    &RowLayout,
    &AttentionOptions,
) -> Tensor<2>;
type Prefixed = fn(
    Tensor<2>,
    Tensor<2>,
    Tensor<2>,
    AttentionPrefix,
    &RowLayout,
    &AttentionOptions,
) -> Tensor<2>;

/// A case of attention: sequence lengths, earlier keys of each, heads, head dimension, causality, rows of a prefix.
#[derive(Clone, Debug)]
pub struct Case {
    pub lengths: Vec<usize>,
    pub past: Vec<usize>,
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    pub causal: bool,
    pub prefix: usize,
    pub dropout: Option<Dropout>,
    pub window: Option<usize>,
    pub softcap: Option<f64>,
}

impl Case {
    pub fn new(lengths: &[usize], heads: usize, kv_heads: usize, d: usize, causal: bool) -> Self {
        Self {
            lengths: lengths.to_vec(),
            past: vec![0; lengths.len()],
            heads,
            kv_heads,
            d,
            causal,
            prefix: 0,
            dropout: None,
            window: None,
            softcap: None,
        }
    }

    pub fn after(mut self, past: &[usize]) -> Self {
        self.past = past.to_vec();
        self
    }

    pub fn windowed(mut self, window: usize) -> Self {
        self.window = Some(window);
        self
    }

    pub fn capped(mut self, cap: f64) -> Self {
        self.softcap = Some(cap);
        self
    }

    pub fn dropped(mut self, probability: f64) -> Self {
        self.dropout = Some(Dropout {
            probability,
            key: 77,
        });
        self
    }

    pub fn with_prefix(mut self, rows: usize) -> Self {
        self.prefix = rows;
        self
    }

    pub fn starts(&self) -> Vec<usize> {
        starts_of(self.lengths.iter().copied())
    }

    /// Starts of the keys.
    pub fn key_starts(&self) -> Vec<usize> {
        starts_of(self.lengths.iter().zip(&self.past).map(|(l, p)| l + p))
    }

    pub fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub fn key_rows(&self) -> usize {
        self.rows() + self.past.iter().sum::<usize>()
    }

    pub fn layout(&self, device: &Device) -> RowLayout {
        RowLayout::new(self.starts(), device)
    }

    pub fn options(&self) -> AttentionOptions {
        AttentionOptions {
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: 1.0 / (self.d as f64).sqrt(),
            causal: self.causal,
            dropout: self.dropout,
            window: self.window,
            softcap: self.softcap,
        }
    }

    pub fn inputs(&self) -> Vec<Vec<f64>> {
        let (t, q, kv) = (self.rows(), self.heads * self.d, self.kv_heads * self.d);
        let s = self.key_rows();
        let mut inputs = vec![numbers(1, t * q), numbers(2, s * kv), numbers(3, s * kv)];
        if self.prefix > 0 {
            inputs.extend([4, 5].map(|key| numbers(key, self.prefix * kv)));
        }
        inputs
    }

    /// The operation on flat inputs.
    pub fn attend(&self, x: Vec<Tensor<1>>, device: &Device) -> Tensor<1> {
        self.by(attention, prefix_attention, cached_attention, x, device)
    }

    /// The same by Burn's operations.
    pub fn attend_portably(&self, x: Vec<Tensor<1>>, device: &Device) -> Tensor<1> {
        let (plain, prefixed) = (portable::attention, portable::prefix_attention);
        self.by(plain, prefixed, portable::cached_attention, x, device)
    }

    fn by(
        &self,
        plain: Plain,
        prefixed: Prefixed,
        cached: Cached,
        mut x: Vec<Tensor<1>>,
        device: &Device,
    ) -> Tensor<1> {
        let (rows, options) = (self.layout(device), self.options());
        let prefix = x.split_off(3);
        let [q, k, v] = self.shaped(x);
        let width = self.kv_heads * self.d;
        let prefix = <[Tensor<1>; 2]>::try_from(prefix).ok().map(|prefix| {
            let [keys, values] = prefix.map(|x| x.reshape([self.prefix, width]));
            AttentionPrefix { keys, values }
        });
        let is_cached = self.past.iter().any(|&p| p > 0);
        let keys = RowLayout::new(self.key_starts(), device);
        let y = match prefix {
            prefix if is_cached => cached(q, k, v, prefix, &rows, &keys, &options),
            None => plain(q, k, v, &rows, &options),
            Some(prefix) => prefixed(q, k, v, prefix, &rows, &options),
        };
        y.flatten(0, 1)
    }

    /// Reshapes flat inputs to packed rows.
    pub fn shaped(&self, x: Vec<Tensor<1>>) -> [Tensor<2>; 3] {
        let (t, q, kv) = (self.rows(), self.heads * self.d, self.kv_heads * self.d);
        let s = self.key_rows();
        let shapes = [[t, q], [s, kv], [s, kv]];
        let x: Vec<_> = x
            .into_iter()
            .zip(shapes)
            .map(|(x, shape)| x.reshape(shape))
            .collect();
        x.try_into().expect("three inputs")
    }

    /// The definition, in `f64`, one number at a time.
    pub fn reference(&self, x: &[Vec<f64>]) -> Vec<f64> {
        let q = &x[0];
        let (width, kv_width, options) =
            (self.heads * self.d, self.kv_heads * self.d, self.options());
        let mut out = vec![0.0; self.rows() * width];
        let (starts, key_starts) = (self.starts(), self.key_starts());
        for (span, keys) in starts.windows(2).zip(key_starts.windows(2)) {
            for head in 0..self.heads {
                let kv = head / (self.heads / self.kv_heads);
                for row in span[0]..span[1] {
                    let own = keys[1] - (span[1] - row);
                    let last = match self.window {
                        _ if self.causal => own + 1,
                        Some(window) => keys[1].min(own.saturating_add(window)),
                        None => keys[1],
                    };
                    let first = match self.window {
                        Some(window) => keys[0].max((own + 1).saturating_sub(window)),
                        None => keys[0],
                    };
                    // Table and row of every key that this row sees.
                    let mut seen: Vec<(usize, usize)> = (0..self.prefix).map(|j| (2, j)).collect();
                    seen.extend((first..last).map(|j| (0, j)));
                    let entry = |table: usize, row: usize, i: usize| {
                        x[1 + table][row * kv_width + kv * self.d + i]
                    };
                    let score = |&(table, key): &(usize, usize)| -> f64 {
                        let product = |i| q[row * width + head * self.d + i] * entry(table, key, i);
                        let s = (0..self.d).map(product).sum::<f64>() * options.scale;
                        self.softcap.map_or(s, |c| c * (s / c).tanh())
                    };
                    let scores: Vec<f64> = seen.iter().map(score).collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    for (j, s) in scores.iter().enumerate() {
                        let mut weight = (s - top).exp() / total;
                        if let Some(o) = self.dropout {
                            // Keys are counted from the first of all, seen or not.
                            let key = match seen[j] {
                                (2, row) => row,
                                (_, row) => self.prefix + row - keys[0],
                            };
                            let stays =
                                attention_keep(o.key, head, row, o.probability).at(key as u64);
                            weight *= if stays {
                                1.0 / (1.0 - o.probability)
                            } else {
                                0.0
                            };
                        }
                        for i in 0..self.d {
                            let (table, key) = seen[j];
                            out[row * width + head * self.d + i] +=
                                weight * entry(1 + table, key, i);
                        }
                    }
                }
            }
        }
        out
    }
}

fn starts_of(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0];
    lengths.for_each(|l| starts.push(starts[starts.len() - 1] + l));
    starts
}
