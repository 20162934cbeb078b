//! Layers that know adapters.

mod head;

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Int,
};

use peft_kernels::{decoded, embedding};

use crate::{AdapterContext, BaseLinear, DynAdapter, adapter::Chosen};

pub use head::LanguageHead;

/// A parameter as the adapters of a pass have it: what a block reads its `A_log`, `D`, norms and biases
/// through. Of several adapters, those that the context chooses for all rows; where rows choose by
/// themselves, those that are active.
pub fn parameter<const D: usize>(param: &Param<Tensor<D>>, context: &AdapterContext) -> Tensor<D> {
    match param.reparameterization::<DynAdapter>() {
        Some(adapter) => adapter.parameter(decoded(param.base()), context),
        None => param.val(),
    }
}

/// As [`parameter`], of the bias of a layer that reads it by itself, as a norm does: what the adapter of the weight beside it
/// implies for it counts, too. A linear layer leaves that to the adapter's product.
pub fn bias_alone<const D: usize>(param: &Param<Tensor<D>>, context: &AdapterContext) -> Tensor<D> {
    match param.reparameterization::<DynAdapter>() {
        Some(adapter) => adapter.parameter_alone(decoded(param.base()), context),
        None => param.val(),
    }
}

/// Whether several adapters may share a parameter.
pub fn has_set<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    let adapter = param.reparameterization::<DynAdapter>();
    adapter.is_some_and(|adapter| adapter.as_set().is_some())
}

/// A layer that goes row by row, `[rows, width] -> [rows, …]`: where rows choose adapters by themselves and several may
/// share its parameters (`shared`), every group of rows goes through the layer as its choice has it.
pub fn rows_apart(
    x: Tensor<2>,
    shared: bool,
    context: &AdapterContext,
    mut layer: impl FnMut(Tensor<2>, &AdapterContext) -> Tensor<2>,
) -> Tensor<2> {
    match context.chosen() {
        Chosen::Rows(rows) if shared => rows.through(x, |x, choice| {
            layer(x, &context.with_choice(choice.clone()))
        }),
        _ => layer(x, context),
    }
}

/// A linear layer `y = x W + b` whose weight may carry an adapter.
///
/// Unlike Burn's own, it takes the adapter's factored path: the adapted weight is never formed.
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight, `[in, out]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer of given parameters.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            bias: bias.map(Param::from_tensor),
        }
    }

    /// The product, `[rows, in] -> [rows, out]`.
    ///
    /// Where the context chooses adapters row by row, each group of rows has a product of its own, in
    /// which every row meets the frozen weight once.
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        rows_apart(x, self.has_set(), context, |x, context| {
            self.product(x, context)
        })
    }

    /// The product where one choice holds for all rows.
    fn product(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let bias = self.bias.as_ref().map(|bias| parameter(bias, context));
        match self.weight.reparameterization::<DynAdapter>() {
            Some(adapter) => {
                adapter.forward(x, &BaseLinear::new(self.weight.base(), bias), context)
            }
            // Any other reparameterization only knows the dense weight.
            None => BaseLinear::new(self.weight.val(), bias).forward(x),
        }
    }

    /// Whether several adapters may share the layer.
    fn has_set(&self) -> bool {
        has_set(&self.weight) || self.bias.as_ref().is_some_and(has_set)
    }
}

/// A linear layer `y = x W + b` whose weight files hold as `[in, out]`, as those of GPT-2 do (Hugging Face's
/// `Conv1D`); in memory it is what [`Linear`] is.
#[derive(Module, Debug)]
pub struct TransposedLinear {
    /// The weight, `[in, out]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl TransposedLinear {
    /// A layer of given parameters.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            bias: bias.map(Param::from_tensor),
        }
    }

    /// The product, `[rows, in] -> [rows, out]`.
    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let linear = Linear {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
        };
        linear.forward(x, context)
    }
}

/// A table of vectors whose weight may carry an adapter.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, width]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// A table of given vectors.
    pub fn new(weight: Tensor<2>) -> Self {
        Self {
            weight: Param::from_tensor(weight),
        }
    }

    /// The vectors of `ids`, `[rows] -> [rows, width]`: those of an adapted table without forming it.
    pub fn forward(&self, ids: Tensor<1, Int>, context: &AdapterContext) -> Tensor<2> {
        match self.adapter() {
            Some(adapter) => adapter.lookup(ids, self.weight.base(), context),
            None => embedding(self.weight.val(), ids),
        }
    }

    /// Whether the table carries an adapter.
    pub fn is_adapted(&self) -> bool {
        self.adapter().is_some()
    }

    fn adapter(&self) -> Option<&DynAdapter> {
        self.weight.reparameterization::<DynAdapter>()
    }
}
