//! What AdamW remembers, on the host.

use std::collections::BTreeMap;

use burn::{Tensor, tensor::Device};
use peft_core::{HostTensor, HostTensorExt};

use super::{AdamW, Moments};
use crate::{HostTensors, TrainError};

/// All that an [`AdamW`] remembers: `m` and `v` of its equation by the paths of the parameters,
/// flattened to `[values]`, and the `t` of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdamWState {
    /// Steps that each parameter has made, `t`: 1 at least.
    pub counts: BTreeMap<String, u64>,
    /// Means of the gradients, `m`.
    pub means: HostTensors,
    /// Means of their squares, `v`.
    pub squares: HostTensors,
}

impl AdamW {
    /// A copy of the state.
    ///
    /// # Errors
    /// For element types that safetensors files do not hold.
    pub fn state(&self) -> Result<AdamWState, TrainError> {
        let mut state = AdamWState::default();
        let host = |path: &str, tensor: &Tensor<1>| {
            HostTensor::from_data(path, tensor.clone().into_data())
        };
        for (path, moments) in &self.moments {
            let (mean, square) = (host(path, &moments.mean)?, host(path, &moments.square)?);
            state.counts.insert(path.clone(), moments.count);
            state.means.insert(path.clone(), mean);
            state.squares.insert(path.clone(), square);
        }
        Ok(state)
    }

    /// Take over a state, bit by bit, on the device of the model's values (without autodiff): the
    /// steps to come are those that the optimiser it was taken from would have done.
    ///
    /// # Errors
    /// [`TrainError::State`] if means, squares and counts do not belong together.
    pub fn restore(&mut self, state: &AdamWState, device: &Device) -> Result<(), TrainError> {
        let tensor = |path: &str, stored: &HostTensor| {
            let data = stored.to_data(path)?;
            if data.shape().num_dims() != 1 {
                return Err(TrainError::state(path, "its moments are not flat"));
            }
            let dtype = data.dtype();
            Ok(Tensor::<1>::from_data(data, (device, dtype)))
        };
        let mut moments = BTreeMap::new();
        for (path, mean) in &state.means {
            let square = state
                .squares
                .get(path)
                .filter(|square| square.shape == mean.shape && square.dtype == mean.dtype)
                .ok_or_else(|| TrainError::state(path, "its moments are not a pair"))?;
            let count = state.counts.get(path).copied().filter(|count| *count > 0);
            let pair = Moments {
                mean: tensor(path, mean)?,
                square: tensor(path, square)?,
                count: count.ok_or_else(|| {
                    TrainError::state(path, "its moments do not say how many steps they have seen")
                })?,
            };
            moments.insert(path.clone(), pair);
        }
        let others = state.squares.keys().chain(state.counts.keys());
        if let Some(path) = others.into_iter().find(|path| !moments.contains_key(*path)) {
            return Err(TrainError::state(path, "its moments are not a pair"));
        }
        self.moments = moments;
        Ok(())
    }

    /// Of some parameters' paths, those whose gradient has not been zero throughout.
    pub(crate) fn moved<'a>(&self, paths: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
        let held: Vec<(&String, &Moments)> = paths
            .filter_map(|path| Some((path, self.moments.get(path)?)))
            .collect();
        if held.is_empty() {
            return Vec::new();
        }
        // One transfer from the device for all tensors.
        let largest = held
            .iter()
            .map(|(_, moments)| moments.mean.clone().abs().max() + moments.square.clone().max())
            .collect();
        let largest = Tensor::<1>::cat(largest, 0).into_data();
        let pairs = held.into_iter().zip(largest.iter::<f64>());
        pairs
            .filter(|(_, largest)| *largest != 0.0)
            .map(|((path, _), _)| path)
            .collect()
    }
}
