//! What AdamW remembers, on the host.

use std::collections::BTreeMap;

use burn::{Tensor, tensor::Device};
use peft_core::{HostTensor, HostTensorExt};

use super::{AdamW, Moments};
use crate::{HostTensors, TrainError};

/// All that an [`AdamW`] remembers: `m` and `v` of its equation by the paths of the parameters,
/// flattened to `[values]`, and what `t` is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdamWState {
    /// Steps done.
    pub step: u64,
    /// How many of them a parameter was left out of, where it was: `t` is the difference.
    pub idle: BTreeMap<String, u64>,
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
        let mut state = AdamWState {
            step: self.step,
            idle: self.idle.clone(),
            ..AdamWState::default()
        };
        let host = |path: &str, tensor: &Tensor<1>| {
            HostTensor::from_data(path, tensor.clone().into_data())
        };
        for (path, moments) in &self.moments {
            let (mean, square) = (host(path, &moments.mean)?, host(path, &moments.square)?);
            state.means.insert(path.clone(), mean);
            state.squares.insert(path.clone(), square);
        }
        Ok(state)
    }

    /// Take over a state, bit by bit, on the device of the model's values (without autodiff): the
    /// steps to come are those that the optimiser it was taken from would have done.
    ///
    /// # Errors
    /// [`TrainError::State`] if means and squares do not belong together, or a parameter was left out of
    /// more steps than there were.
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
            let pair = Moments {
                mean: tensor(path, mean)?,
                square: tensor(path, square)?,
            };
            moments.insert(path.clone(), pair);
        }
        if let Some(path) = state
            .squares
            .keys()
            .find(|path| !moments.contains_key(*path))
        {
            return Err(TrainError::state(path, "its moments are not a pair"));
        }
        if let Some((path, idle)) = state.idle.iter().find(|(_, idle)| **idle > state.step) {
            let problem = format!("it was left out of {idle} of {} steps", state.step);
            return Err(TrainError::state(path, problem));
        }
        (self.step, self.moments) = (state.step, moments);
        self.idle = state.idle.clone();
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
