use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{Int, TensorData},
};
use peft_kernels::{cross_entropy, head_cross_entropy};

use super::{Embedding, Linear, parameter};
use crate::{AdapterContext, BaseLinear, DynAdapter};

/// Values of logits that are in memory together, at the most: 32 MB of single precision.
const CHUNK: usize = 8 << 20;

/// From hidden rows to logits over a vocabulary: `z = scale · x W + b`, and `c · tanh(z / c)` with a soft cap.
///
/// It holds the layer as the forward pass met it, adapter and context included.
#[derive(Debug, Clone)]
pub struct LanguageHead {
    linear: Linear,
    /// The adapter of the table that is the layer, read the other way round.
    table: Option<DynAdapter>,
    context: AdapterContext,
    scale: f64,
    softcap: Option<f64>,
}

impl LanguageHead {
    /// A head of a layer `[width, vocabulary]`.
    pub fn new(linear: Linear, context: AdapterContext) -> Self {
        Self {
            linear,
            table: None,
            context,
            scale: 1.0,
            softcap: None,
        }
    }

    /// A head that is the table of the tokens, `[vocabulary, width]`, read the other way round. Gradients go to
    /// the table, if it or its adapter is trained.
    pub fn tied(table: &Embedding, context: AdapterContext) -> Self {
        let adapter = table.weight.reparameterization::<DynAdapter>();
        // Of several adapters the dense table is formed once, and not in every part.
        let adapter = adapter.filter(|adapter| adapter.as_set().is_none());
        let weight = match adapter {
            Some(_) => table.weight.base(),
            None => parameter(&table.weight, &context),
        };
        let linear = Linear {
            // Not a parameter of its own.
            weight: Param::initialized(ParamId::new(), weight.transpose()),
            bias: None,
        };
        Self {
            table: adapter.cloned(),
            ..Self::new(linear, context)
        }
    }

    /// The same with logits multiplied by a factor before the soft cap.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The same with logits bent to stay within `± softcap`.
    #[must_use]
    pub fn with_softcap(self, softcap: Option<f64>) -> Self {
        Self { softcap, ..self }
    }

    /// Entries of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.linear.weight.lazy_shape()[1]
    }

    /// The logits of rows, `[rows, width] -> [rows, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let mut logits = match &self.table {
            None => self.linear.forward(hidden, &self.context),
            Some(adapter) => {
                let base = BaseLinear::new(self.linear.weight.val(), None);
                adapter.forward_transposed(hidden, &base, &self.context)
            }
        };
        if self.scale != 1.0 {
            logits = logits.mul_scalar(self.scale);
        }
        match self.softcap {
            None => logits,
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
        }
    }

    /// The mean over rows of `-log p(target)`, `[1]`: of the logits of a few rows at a time, which are kept for
    /// the backward pass only where the layer has a bias or an adapter.
    ///
    /// # Panics
    /// If there is not a target for every row, or no row.
    pub fn cross_entropy(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let rows = hidden.dims()[0];
        assert_eq!(rows, targets.dims()[0], "a target for every row");
        assert!(rows > 0, "a loss of no rows");
        if self.linear.bias.is_none() && !self.is_adapted() {
            let weight = self.linear.weight.val();
            return head_cross_entropy(hidden, weight, targets, self.softcap, self.scale);
        }
        let parts = self.parts(rows).map(|(start, count)| {
            let logits = self.logits(hidden.clone().narrow(0, start, count));
            let targets = targets.clone().narrow(0, start, count);
            cross_entropy(logits, targets).mul_scalar(count as f64 / rows as f64)
        });
        let sum = parts.reduce(|sum, part| sum + part);
        sum.expect("there are rows")
    }

    fn is_adapted(&self) -> bool {
        let adapter = self.linear.weight.reparameterization::<DynAdapter>();
        adapter.is_some() || self.table.is_some()
    }

    /// `-log p(target)` of every row, in double precision on the host, without gradients.
    ///
    /// # Panics
    /// If there is not a target for every row.
    pub fn surprisals(&self, hidden: &Tensor<2>, targets: &[u32]) -> Vec<f64> {
        let rows = hidden.dims()[0];
        assert_eq!(rows, targets.len(), "a target for every row");
        let mut all = Vec::with_capacity(rows);
        for (start, count) in self.parts(rows) {
            let logits = self.logits(hidden.clone().narrow(0, start, count));
            let ids: Vec<i64> = targets[start..start + count]
                .iter()
                .map(|id| i64::from(*id))
                .collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &logits.device());
            let chosen = logits.clone().gather(1, ids.reshape([count, 1]));
            let largest = logits.clone().max_dim(1);
            // Differences to the largest logit keep their digits.
            let sums = (logits - largest.clone()).exp().sum_dim(1);
            let [sums, gaps] = [sums, largest - chosen].map(Tensor::into_data);
            all.extend(
                sums.iter::<f64>()
                    .zip(gaps.iter::<f64>())
                    .map(|(sum, gap)| sum.ln() + gap),
            );
        }
        all
    }

    /// Rows that are worked on together: where they start, and how many.
    fn parts(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let most = (CHUNK / self.vocabulary().max(1)).max(1);
        (0..rows)
            .step_by(most)
            .map(move |start| (start, most.min(rows - start)))
    }
}
