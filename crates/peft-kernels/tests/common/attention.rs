//! Cases of attention, and their results by the definition.

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use super::numbers;

type Plain = fn(Tensor<2>, Tensor<2>, Tensor<2>, &RowLayout, &AttentionOptions) -> Tensor<2>;
type Prefixed = fn(
    Tensor<2>,
    Tensor<2>,
    Tensor<2>,
    AttentionPrefix,
    &RowLayout,
    &AttentionOptions,
) -> Tensor<2>;

/// A case of attention: sequence lengths, heads, head dimension, causality, rows of a prefix.
#[derive(Clone, Debug)]
pub struct Case {
    pub lengths: Vec<usize>,
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    pub causal: bool,
    pub prefix: usize,
    pub dropout: Option<Dropout>,
}

impl Case {
    pub fn new(lengths: &[usize], heads: usize, kv_heads: usize, d: usize, causal: bool) -> Self {
        Self {
            lengths: lengths.to_vec(),
            heads,
            kv_heads,
            d,
            causal,
            prefix: 0,
            dropout: None,
        }
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
        let mut starts = vec![0];
        self.lengths
            .iter()
            .for_each(|l| starts.push(starts[starts.len() - 1] + l));
        starts
    }

    pub fn rows(&self) -> usize {
        self.lengths.iter().sum()
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
        }
    }

    pub fn inputs(&self) -> Vec<Vec<f64>> {
        let (t, q, kv) = (self.rows(), self.heads * self.d, self.kv_heads * self.d);
        let mut inputs = vec![numbers(1, t * q), numbers(2, t * kv), numbers(3, t * kv)];
        if self.prefix > 0 {
            inputs.extend([4, 5].map(|key| numbers(key, self.prefix * kv)));
        }
        inputs
    }

    /// The operation on flat inputs.
    pub fn attend(&self, x: Vec<Tensor<1>>, device: &Device) -> Tensor<1> {
        self.by(attention, prefix_attention, x, device)
    }

    /// The same by Burn's operations.
    pub fn attend_portably(&self, x: Vec<Tensor<1>>, device: &Device) -> Tensor<1> {
        self.by(portable::attention, portable::prefix_attention, x, device)
    }

    fn by(
        &self,
        plain: Plain,
        prefixed: Prefixed,
        mut x: Vec<Tensor<1>>,
        device: &Device,
    ) -> Tensor<1> {
        let (rows, options) = (self.layout(device), self.options());
        let prefix = x.split_off(3);
        let [q, k, v] = self.shaped(x);
        let y = match <[Tensor<1>; 2]>::try_from(prefix) {
            Err(_) => plain(q, k, v, &rows, &options),
            Ok(prefix) => {
                let width = self.kv_heads * self.d;
                let [keys, values] = prefix.map(|x| x.reshape([self.prefix, width]));
                let prefix = AttentionPrefix { keys, values };
                prefixed(q, k, v, prefix, &rows, &options)
            }
        };
        y.flatten(0, 1)
    }

    /// Reshapes flat inputs to packed rows.
    pub fn shaped(&self, x: Vec<Tensor<1>>) -> [Tensor<2>; 3] {
        let (t, q, kv) = (self.rows(), self.heads * self.d, self.kv_heads * self.d);
        let mut widths = [q, kv, kv].into_iter();
        let x: Vec<_> = x
            .into_iter()
            .map(|x| x.reshape([t, widths.next().unwrap()]))
            .collect();
        x.try_into().expect("three inputs")
    }

    /// The definition, in `f64`, one number at a time.
    pub fn reference(&self, x: &[Vec<f64>]) -> Vec<f64> {
        let q = &x[0];
        let (width, kv_width, options) =
            (self.heads * self.d, self.kv_heads * self.d, self.options());
        let mut out = vec![0.0; self.rows() * width];
        for span in self.starts().windows(2) {
            for head in 0..self.heads {
                let kv = head / (self.heads / self.kv_heads);
                for row in span[0]..span[1] {
                    let last = if self.causal { row + 1 } else { span[1] };
                    // Table and row of every key that this row sees.
                    let mut seen: Vec<(usize, usize)> = (0..self.prefix).map(|j| (2, j)).collect();
                    seen.extend((span[0]..last).map(|j| (0, j)));
                    let entry = |table: usize, row: usize, i: usize| {
                        x[1 + table][row * kv_width + kv * self.d + i]
                    };
                    let score = |&(table, key): &(usize, usize)| -> f64 {
                        let product = |i| q[row * width + head * self.d + i] * entry(table, key, i);
                        (0..self.d).map(product).sum::<f64>() * options.scale
                    };
                    let scores: Vec<f64> = seen.iter().map(score).collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    for (j, s) in scores.iter().enumerate() {
                        let mut weight = (s - top).exp() / total;
                        if let Some(o) = self.dropout {
                            let stays =
                                attention_keep(o.key, head, row, o.probability).at(j as u64);
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
