use burn::{
    Tensor,
    module::{Module, Param},
    tensor::activation::relu,
};
use peft_core::{AdapterContext, Cost, InputRows, SlotAdapter, kernels::linear};

/// Trained rows before the embedded tokens of every sequence, `[p, w]`.
///
/// They take the sequence's first positions, and stand where its vectors of tokens do: what is added or done to those comes
/// after.
#[derive(Module, Debug)]
pub struct Prompt {
    /// `[p, w]`
    pub rows: Param<Tensor<2>>,
}

impl SlotAdapter for Prompt {
    type Passing = InputRows;

    fn forward(&self, before: InputRows, _: &AdapterContext) -> Option<Tensor<2>> {
        Some(behind(before, self.rows.val()))
    }

    fn rows_before(&self) -> usize {
        self.rows.lazy_shape()[0]
    }

    fn cost(&self, _: &[usize]) -> Cost {
        values(self.rows.lazy_shape().num_elements())
    }
}

fn behind(before: InputRows, rows: Tensor<2>) -> Tensor<2> {
    match before.rows {
        None => rows,
        Some(first) => Tensor::cat(vec![first, rows], 0),
    }
}

/// What so many values cost: rows of a prompt are computed with like any others.
pub fn values(parameters: usize) -> Cost {
    Cost {
        parameters,
        ..Cost::default()
    }
}

/// Rows that a network makes of others while they are trained (P-tuning, Liu et al. 2021):
/// `f(f(E W₁ + b₁) W₂ + b₂) W₃ + b₃` with `f` the positive part. Files hold the rows that come of it.
#[derive(Module, Debug)]
pub struct EncodedPrompt {
    /// `E`, `[p, w]`
    pub embedding: Param<Tensor<2>>,
    /// `W₁`, `[w, b]`
    pub first: Param<Tensor<2>>,
    /// `b₁`, `[b]`
    pub first_bias: Param<Tensor<1>>,
    /// `W₂`, `[b, b]`
    pub second: Param<Tensor<2>>,
    /// `b₂`, `[b]`
    pub second_bias: Param<Tensor<1>>,
    /// `W₃`, `[b, w]`
    pub third: Param<Tensor<2>>,
    /// `b₃`, `[w]`
    pub third_bias: Param<Tensor<1>>,
}

impl SlotAdapter for EncodedPrompt {
    type Passing = InputRows;

    fn forward(&self, before: InputRows, _: &AdapterContext) -> Option<Tensor<2>> {
        let layer = |x: Tensor<2>, weight: &Param<Tensor<2>>, bias: &Param<Tensor<1>>| {
            linear(x, weight.val(), Some(bias.val()))
        };
        let x = relu(layer(self.embedding.val(), &self.first, &self.first_bias));
        let x = relu(layer(x, &self.second, &self.second_bias));
        Some(behind(before, layer(x, &self.third, &self.third_bias)))
    }

    fn rows_before(&self) -> usize {
        self.embedding.lazy_shape()[0]
    }

    fn cost(&self, _: &[usize]) -> Cost {
        let [count, width] = self.embedding.lazy_shape().dims::<2>();
        values(encoded_values(count, width, self.first.lazy_shape()[1]))
    }
}

/// Values of an encoded prompt.
pub fn encoded_values(count: usize, width: usize, inner: usize) -> usize {
    let layers = [(width, inner), (inner, inner), (inner, width)];
    let layers = layers.map(|(inputs, outputs)| inputs * outputs + outputs);
    count * width + layers.iter().sum::<usize>()
}
