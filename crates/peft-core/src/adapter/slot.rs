use burn::{Tensor, module::Module};

use super::{AdapterContext, Cost};
use crate::{Fields, HostTensor, Passing};

/// A module inserted in a [`Slot`](crate::Slot) of a block: it changes what passes there and no weight, so that
/// it cannot be merged.
pub trait SlotAdapter: Module + Sync + 'static {
    /// What passes through the slots that it is for.
    type Passing: Passing;

    /// What comes out of the slot.
    fn forward(
        &self,
        passing: Self::Passing,
        context: &AdapterContext,
    ) -> <Self::Passing as Passing>::Out;

    /// Whether it reads [`Hidden::normed`](crate::Hidden::normed), which a block otherwise does not form.
    fn reads_norm(&self) -> bool {
        false
    }

    /// Rows that it puts before those of every sequence, in a slot of [`InputRows`](crate::InputRows).
    fn rows_before(&self) -> usize {
        0
    }

    /// Positions that it takes before a sequence's own without rows there, in a slot of
    /// [`KeyValues`](crate::KeyValues): a sequence's first token then stands at that position.
    fn positions_before(&self) -> usize {
        0
    }

    /// What it costs in a slot of these widths.
    fn cost(&self, widths: &[usize]) -> Cost;

    /// Factor on the learning rate of one of the adapter's fields.
    fn learning_rate_factor(&self, _field: &str) -> f64 {
        1.0
    }

    /// A penalty on the adapter's own values, `[1]`. Its mean over all adapters that have one is added to
    /// the loss. `None` from an adapter says that no adapter of its type and settings ever has one.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
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
