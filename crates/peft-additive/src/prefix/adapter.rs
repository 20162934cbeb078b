use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, Cost, KeyValues, Prefixes, SlotAdapter,
    kernels::{AttentionPrefix, linear},
};

/// Keys and values that every row of an attention sees before those of its own sequence, `[p, w]` each, where `w` is the width
/// of all key heads together.
///
/// They are as the attention takes them: behind rotary positions and norms of heads. Rows and their number stay what they are.
#[derive(Module, Debug)]
pub struct Prefix {
    /// `[p, w]`
    pub keys: Param<Tensor<2>>,
    /// `[p, w]`
    pub values: Param<Tensor<2>>,
    /// Whether the first token of a sequence stands at position `p`, and not at 0, in a model that goes from token to token.
    #[module(skip)]
    pub shift: bool,
}

impl SlotAdapter for Prefix {
    type Passing = KeyValues;

    fn forward(&self, seen: KeyValues, _: &AdapterContext) -> KeyValues {
        with_prefix(seen, self.keys.val(), self.values.val())
    }

    fn positions_before(&self) -> usize {
        match self.shift {
            true => self.keys.lazy_shape()[0],
            false => 0,
        }
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        let count = self.keys.lazy_shape()[0];
        cost(2 * count * widths[0], count, widths[0])
    }
}

fn with_prefix(seen: KeyValues, keys: Tensor<2>, values: Tensor<2>) -> KeyValues {
    let dtype = seen.keys.dtype();
    let [keys, values] = [keys, values].map(|one| one.cast(dtype));
    KeyValues {
        prefix: Prefixes::All(AttentionPrefix { keys, values }),
        ..seen
    }
}

/// What so many values of a prefix of `count` rows cost.
pub fn cost(parameters: usize, count: usize, width: usize) -> Cost {
    Cost {
        parameters,
        // Scores and their sums, forward and backward; with several queries to a key head it is more.
        flops_per_row: 12 * count * width,
        saved_per_row: 0,
    }
}

/// A prefix that is made of rows by a network while it is trained: `[K; V] = tanh(E W₁ + b₁) W₂ + b₂` (Li and Liang 2021).
///
/// Rows and the first layer are one for all attentions of a model; the second is each attention's own. Files hold the keys and
/// values that come of it.
#[derive(Module, Debug)]
pub struct ProjectedPrefix {
    /// `E`, `[p, w]`
    pub embedding: Param<Tensor<2>>,
    /// `W₁`, `[w, b]`
    pub hidden: Param<Tensor<2>>,
    /// `b₁`, `[b]`
    pub hidden_bias: Param<Tensor<1>>,
    /// `W₂`, `[b, 2 w]`, that of the keys first
    pub output: Param<Tensor<2>>,
    /// `b₂`, `[2 w]`
    pub output_bias: Param<Tensor<1>>,
    /// Whether the first token of a sequence stands at position `p`, and not at 0.
    #[module(skip)]
    pub shift: bool,
}

impl ProjectedPrefix {
    /// Fields that all attentions of a model have in one.
    pub const SHARED: [&'static str; 3] = ["embedding", "hidden", "hidden_bias"];

    /// Of a shared field the name of the parameter.
    pub fn shared_name(field: &str) -> String {
        format!("prefix.{field}")
    }
}

impl SlotAdapter for ProjectedPrefix {
    type Passing = KeyValues;

    fn forward(&self, seen: KeyValues, _: &AdapterContext) -> KeyValues {
        let rows = self.embedding.val();
        let width = rows.dims()[1];
        let inner = linear(rows, self.hidden.val(), Some(self.hidden_bias.val())).tanh();
        let both = linear(inner, self.output.val(), Some(self.output_bias.val()));
        let keys = both.clone().narrow(1, 0, width);
        with_prefix(seen, keys, both.narrow(1, width, width))
    }

    fn positions_before(&self) -> usize {
        match self.shift {
            true => self.embedding.lazy_shape()[0],
            false => 0,
        }
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        let [count, width] = self.embedding.lazy_shape().dims::<2>();
        let inner = self.hidden.lazy_shape()[1];
        cost(projected_values(count, width, inner), count, widths[0])
    }

    fn tie(&self, field: &str) -> Option<String> {
        Self::SHARED
            .contains(&field)
            .then(|| Self::shared_name(field))
    }
}

/// Values of a projected prefix of `count` rows, shared ones included.
pub fn projected_values(count: usize, width: usize, inner: usize) -> usize {
    count * width + width * inner + inner + inner * 2 * width + 2 * width
}
