use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter};

use super::layout::LayoutCell;
use crate::Support;

/// An adapter that trains some entries of its weight: `W' = W + S`, with `S` zero outside of a
/// [`Support`].
///
/// Neither `S` nor its gradient is formed in training on the CPU: see
/// [`SparseUpdate`](peft_core::kernels::SparseUpdate). With values of zero the adapted layer computes
/// exactly what the base does.
#[derive(Module, Debug)]
pub struct SparseDelta {
    /// Trained values, `[n]`, in the order of the support's entries.
    pub values: Param<Tensor<1>>,
    /// Numbers of the support's tiles, rising.
    pub tiles: Param<Tensor<1, Int>>,
    /// Outputs and inputs of the weight, `[2]`.
    pub shape: Param<Tensor<1, Int>>,
    /// Whether the support changes while training goes on.
    #[module(skip)]
    pub moving: bool,
    #[module(skip)]
    layout: LayoutCell,
}

impl SparseDelta {
    /// An adapter with these values, on `device`.
    ///
    /// # Panics
    /// If there is not one value for each entry.
    pub fn new(support: Support, values: TensorData, dtype: FloatDType, device: &Device) -> Self {
        let (found, wanted) = (values.num_elements(), support.len());
        assert_eq!(found, wanted, "one value for each entry of the support");
        let ints = |numbers: Vec<i64>| {
            let data = TensorData::new(numbers.clone(), [numbers.len()]);
            Param::initialized(ParamId::new(), Tensor::from_data(data, device))
        };
        let tiles = ints(support.tiles().iter().map(|&t| i64::from(t)).collect());
        let shape = ints(support.shape().map(|side| side as i64).to_vec());
        Self {
            values: Param::from_tensor(Tensor::from_data(values, (device, dtype.into()))),
            layout: LayoutCell::new(&tiles, support),
            tiles,
            shape,
            moving: false,
        }
    }

    /// This adapter, with a support that its method changes between two steps.
    #[must_use]
    pub fn moving(self) -> Self {
        Self {
            moving: true,
            ..self
        }
    }

    /// Where the values are.
    pub fn support(&self) -> Support {
        self.layout.get(&self.tiles, self.moving).support.clone()
    }
}

impl WeightAdapter for SparseDelta {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let layout = self.layout.get(&self.tiles, self.moving);
        layout.apply(x, base, self.values.val())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let layout = self.layout.get(&self.tiles, self.moving);
        layout.merged(weight, self.values.val())
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        self.layout.get(&self.tiles, self.moving).cost()
    }
}
