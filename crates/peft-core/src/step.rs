//! What a method sees and changes between two optimiser steps.

use std::collections::BTreeMap;

use burn::{Tensor, tensor::Int};
use serde::{Deserialize, Serialize};

use crate::Fields;

/// Settings of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate. Biases and norms are spared:
    /// [`ParamPath::decays`](crate::ParamPath::decays).
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Values flattened in row-major order, without autodiff.
#[derive(Debug, Clone)]
pub enum Values {
    /// Floating-point values.
    Float(Tensor<1>),
    /// Integers, such as places.
    Int(Tensor<1, Int>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.dims()[0],
            Self::Int(values) => values.dims()[0],
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        let dtype = match self {
            Self::Float(values) => values.dtype(),
            Self::Int(values) => values.dtype(),
        };
        self.len() * dtype.size()
    }

    /// The values.
    ///
    /// # Panics
    /// If they are integers.
    pub fn float(&self) -> Tensor<1> {
        match self {
            Self::Float(values) => values.clone(),
            Self::Int(_) => panic!("integers, where floating-point values are expected"),
        }
    }

    /// The values.
    ///
    /// # Panics
    /// If they are not integers.
    pub fn int(&self) -> Tensor<1, Int> {
        match self {
            Self::Int(values) => values.clone(),
            Self::Float(_) => panic!("floating-point values, where integers are expected"),
        }
    }
}

/// The adapters of a model right after an optimiser step: what
/// [`Method::after_step`](crate::Method::after_step) works on.
#[derive(Debug)]
pub struct AfterStep {
    /// Steps done, this one included.
    pub step: u64,
    /// Those of them that trained these adapters: fewer, where rows choose among adapters with names and none
    /// chose this one.
    pub own_steps: u64,
    /// Steps of the run.
    pub total: u64,
    /// Learning rate of adapters in this step, before the factors of fields.
    pub learning_rate: f64,
    /// Settings of the optimiser, for methods that take its steps themselves.
    pub optimizer: AdamWConfig,
    /// The adapters, by the Burn paths of their modules.
    pub adapters: BTreeMap<String, AdapterStep>,
}

/// One adapter after a step.
#[derive(Debug, Default)]
pub struct AdapterStep {
    /// Its parameters, by field.
    pub fields: Fields<FieldStep>,
    /// What the method remembers of it from step to step. Checkpoints hold it, the adapter's files do
    /// not. Empty before the first step; names have no dots.
    pub memory: Fields<Values>,
}

impl AdapterStep {
    /// A field.
    ///
    /// # Panics
    /// If the adapter has none of that name.
    pub fn field(&self, name: &str) -> &FieldStep {
        let field = self.fields.get(name);
        field.unwrap_or_else(|| panic!("no field `{name}` in {:?}", self.fields.keys()))
    }

    /// A field, to be changed.
    ///
    /// # Panics
    /// If the adapter has none of that name.
    pub fn field_mut(&mut self, name: &str) -> &mut FieldStep {
        let field = self.fields.get_mut(name);
        field.unwrap_or_else(|| panic!("the adapter has no field `{name}`"))
    }
}

/// A parameter of an adapter after a step.
#[derive(Debug)]
pub struct FieldStep {
    value: Values,
    shape: Vec<usize>,
    gradient: Option<(Tensor<1>, f64)>,
    changed: bool,
    moments: Option<Vec<Option<usize>>>,
}

/// What a method did to a field.
#[derive(Debug)]
pub struct FieldChange {
    /// The new values, if there are any.
    pub value: Option<Values>,
    /// Where the optimiser's memory of each value was before; `None` for a value that it knows nothing
    /// of.
    pub moments: Option<Vec<Option<usize>>>,
}

impl FieldStep {
    /// A field of some shape; its gradient comes with the factor that clipping put on it.
    pub fn new(value: Values, shape: Vec<usize>, gradient: Option<(Tensor<1>, f64)>) -> Self {
        Self {
            value,
            shape,
            gradient,
            changed: false,
            moments: None,
        }
    }

    /// Its values, the step's update included.
    pub fn value(&self) -> &Values {
        &self.value
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The gradient that the optimiser was given: that of the whole batch, after clipping, penalties
    /// included. `None` for a field without one.
    pub fn gradient(&self) -> Option<Tensor<1>> {
        let (gradient, scale) = self.gradient.as_ref()?;
        Some(match scale {
            1.0 => gradient.clone(),
            scale => gradient.clone().mul_scalar(*scale),
        })
    }

    /// Replace the values. The optimiser's memory of them stays; see
    /// [`rearrange_moments`](Self::rearrange_moments).
    ///
    /// # Panics
    /// If their number or kind is another.
    pub fn set(&mut self, value: Values) {
        let kinds = [&self.value, &value].map(std::mem::discriminant);
        assert_eq!(kinds[0], kinds[1], "a field keeps its kind");
        assert_eq!(self.value.len(), value.len(), "a field keeps its length");
        self.value = value;
        self.changed = true;
    }

    /// Re-index the optimiser's memory: what it knew of value `from[i]` belongs to value `i` now; of a
    /// value without a source it knows nothing. Steps are counted for the field as a whole, so that such a
    /// value's first step is up to about three times as long as that of a new field.
    ///
    /// # Panics
    /// If there is not a source for every value, or one lies outside.
    pub fn rearrange_moments(&mut self, from: Vec<Option<usize>>) {
        let length = self.value.len();
        assert_eq!(from.len(), length, "a source for every value");
        let inside = |source: &Option<usize>| source.is_none_or(|source| source < length);
        assert!(from.iter().all(inside), "a source outside of {length}");
        self.moments = Some(from);
    }

    /// Let the optimiser forget all that it knows of the field, its count of steps included.
    pub fn reset_moments(&mut self) {
        self.moments = Some(vec![None; self.value.len()]);
    }

    /// What was done to it.
    pub fn into_change(self) -> FieldChange {
        FieldChange {
            value: self.changed.then_some(self.value),
            moments: self.moments,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn field() -> FieldStep {
        let device = Device::default();
        let value = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
        let gradient = Tensor::<1>::from_floats([4.0, 0.0, -2.0], &device);
        FieldStep::new(Values::Float(value), vec![3], Some((gradient, 0.5)))
    }

    #[test]
    fn a_gradient_is_what_clipping_left_of_it() {
        let gradient = field().gradient().unwrap().into_data();
        assert_eq!(gradient.try_to_vec::<f32>().unwrap(), [2.0, 0.0, -1.0]);
    }

    #[test]
    fn what_is_not_touched_is_not_changed() {
        let change = field().into_change();
        assert!(change.value.is_none() && change.moments.is_none());
        let mut touched = field();
        touched.reset_moments();
        touched.set(touched.value().clone());
        let change = touched.into_change();
        assert!(change.value.is_some());
        assert_eq!(change.moments, Some(vec![None; 3]));
    }

    #[test]
    #[should_panic(expected = "a source outside of 3")]
    fn moments_come_from_the_field() {
        field().rearrange_moments(vec![Some(0), None, Some(3)]);
    }

    #[test]
    #[should_panic(expected = "a field keeps its length")]
    fn a_field_keeps_its_length() {
        let longer = Tensor::<1>::zeros([4], &Device::default());
        field().set(Values::Float(longer));
    }
}
