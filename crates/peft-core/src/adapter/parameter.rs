use burn::{Tensor, module::Module};

use super::Cost;
use crate::{Fields, HostTensor};

/// An adapter of one parameter `p` of any shape: a bias, a norm's scale, `A_log` of a state-space model.
///
/// Values come flattened in row-major order, so that one adapter serves every rank; what changes of them may
/// be all or a few. A block that reads its parameters through
/// [`nn::parameter`](crate::nn::parameter) computes with [`effective`](Self::effective), and so does
/// every other module, for which the parameter's value is the adapted one.
pub trait ParameterAdapter: Module + Sync + 'static {
    /// The adapted values, `[n] -> [n]`, of a parameter of this shape.
    fn effective(&self, values: Tensor<1>, shape: &[usize]) -> Tensor<1>;

    /// What it costs: the values that are trained.
    fn cost(&self, shape: &[usize]) -> Cost;

    /// Factor on the learning rate of one of the adapter's fields.
    fn learning_rate_factor(&self, _field: &str) -> f64 {
        1.0
    }

    /// A penalty on the adapter's own values, `[1]`. Its mean over all adapters that have one is added to
    /// the loss. `None` from an adapter says that no adapter of its type and settings ever has one.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }

    /// Whether what it adds is the same whatever the parameter, so that adapters may be summed.
    fn is_additive(&self) -> bool {
        false
    }

    /// The name of the parameter that a trained field is a copy of, where adapters of a model share one.
    fn tie(&self, _field: &str) -> Option<String> {
        None
    }

    /// Tensors that a file holds once for all adapters of a model, by name; all of its adapters give the
    /// same.
    fn shared(&self) -> Fields<HostTensor> {
        Fields::new()
    }
}
