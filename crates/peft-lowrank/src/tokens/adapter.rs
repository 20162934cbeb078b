use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, IndexingUpdateOp, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, SiteKind, WeightAdapter, kernels};

/// Single rows of a table, trained and saved in full: the vectors of a few tokens.
///
/// ```text
/// W'ᵢ = rowᵢ for the chosen tokens i      W'ᵢ = Wᵢ for all others
/// ```
///
/// `W` is a table `[entries, width]`, or a linear layer `[width, entries]` whose outputs are the tokens' logits.
/// What PEFT calls `trainable_token_indices`: rows start as the table has them, and a file holds the rows
/// themselves, not what they differ by.
#[derive(Module, Debug)]
pub struct TokenRows {
    /// The vectors, `[tokens, width]`.
    pub rows: Param<Tensor<2>>,
    /// Which tokens.
    #[module(skip)]
    pub tokens: Vec<usize>,
    /// Whether they are outputs of a linear layer.
    #[module(skip)]
    pub outputs: bool,
}

impl TokenRows {
    /// Rows of these tokens: of a table, or of a linear layer's outputs.
    pub fn new(rows: Tensor<2>, tokens: Vec<usize>, outputs: bool) -> Self {
        Self {
            rows: Param::from_tensor(rows),
            tokens,
            outputs,
        }
    }

    /// The tokens as a tensor.
    fn places(&self, like: &Tensor<2>) -> Tensor<1, Int> {
        places(&self.tokens, &like.device())
    }

    /// `values` with other ones in the places of the tokens along a dimension. Those that are there become zero
    /// first, so that nothing is lost in rounding.
    fn put(&self, values: Tensor<2>, dim: usize, own: Tensor<2>) -> Tensor<2> {
        let places = self.places(&values);
        let old = values.clone().select(dim, places.clone()).neg();
        let add = IndexingUpdateOp::Add;
        let cleared = values.select_assign(dim, places.clone(), old, add);
        let add = IndexingUpdateOp::Add;
        cleared.select_assign(dim, places, own, add)
    }

    /// Logits of all tokens, of which those of the chosen ones are of their own rows.
    fn logits(&self, x: Tensor<2>, base: &BaseLinear) -> Tensor<2> {
        let all = base.forward(x.clone());
        let own = kernels::linear(x, self.rows.val().transpose(), None);
        let own = match base.bias() {
            None => own,
            Some(bias) => own + bias.select(0, self.places(&all)).unsqueeze::<2>(),
        };
        self.put(all, 1, own)
    }
}

impl WeightAdapter for TokenRows {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        match self.outputs {
            true => self.logits(x, base),
            false => kernels::linear(x, self.effective(base.weight()), base.bias()),
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let rows = self.rows.val().cast(weight.dtype());
        match self.outputs {
            true => self.put(weight, 1, rows.transpose()),
            false => self.put(weight, 0, rows),
        }
    }

    fn lookup(&self, ids: Tensor<1, Int>, table: Tensor<2>, _: &AdapterContext) -> Tensor<2> {
        let rows = self.rows.val();
        let (count, dtype) = (ids.dims()[0], rows.dtype());
        let tokens = self.places(&rows).unsqueeze::<2>();
        let shape = [count, self.tokens.len()];
        let wanted = ids.clone().reshape([count, 1]).expand(shape);
        // Which of the tokens each id is, if any.
        let hits = wanted.equal(tokens.expand(shape)).float().cast(dtype);
        let others = hits.clone().sum_dim(1).neg().add_scalar(1.0);
        kernels::embedding(table, ids).cast(dtype) * others + hits.matmul(rows)
    }

    fn forward_transposed(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        self.logits(x, base)
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        let [count, width] = self.rows.lazy_shape().dims();
        cost(count, width)
    }
}

/// The rows of tokens in the weight of a table, or of a linear layer's outputs.
pub(crate) fn rows_of(weight: &Tensor<2>, tokens: &[usize], kind: SiteKind) -> TensorData {
    let places = places(tokens, &weight.device());
    let rows = match kind {
        SiteKind::Embedding => weight.clone().select(0, places),
        _ => weight.clone().select(1, places).transpose(),
    };
    rows.into_data()
}

/// Tokens as a tensor.
fn places(tokens: &[usize], device: &Device) -> Tensor<1, Int> {
    let tokens: Vec<i64> = tokens.iter().map(|token| *token as i64).collect();
    let count = tokens.len();
    Tensor::from_data(TensorData::new(tokens, [count]), device)
}

/// What rows cost: their values, and a product with them.
pub(crate) fn cost(tokens: usize, width: usize) -> Cost {
    Cost {
        parameters: tokens * width,
        flops_per_row: 6 * tokens * width,
        saved_per_row: tokens,
    }
}
