//! Where a trainer stands, in memory and as a file.

use std::path::Path;

use burn::module::Module;
use peft_core::HostTensor;
use peft_format::{AdapterFile, Metadata, SafetensorsWriter, TensorSpec};

use super::Trainer;
use crate::{AdamWState, HostTensors, TrainError, restore_parameters, trained_parameters};

/// What the file's metadata call its format.
const FORMAT: (&str, &str) = ("format", "peft-trainer-1");

/// All that the steps to come depend on beside the data and the frozen model: trained parameters,
/// moments and the number of steps done. Dropout and the schedule are functions of that number, so
/// a [`Trainer`] of the same [`TrainerConfig`](crate::TrainerConfig) and schedule that takes it over
/// goes on to the same bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainerState {
    /// Optimiser steps done.
    pub step: u64,
    /// See [`trained_parameters`].
    pub parameters: HostTensors,
    /// The optimiser's memory.
    pub optimizer: AdamWState,
}

impl Trainer {
    /// A copy of where training stands; `model` is what the last step returned.
    ///
    /// # Errors
    /// For element types that safetensors files do not hold.
    pub fn state<M: Module>(&self, model: &M) -> Result<TrainerState, TrainError> {
        Ok(TrainerState {
            step: self.step,
            parameters: trained_parameters(model)?,
            optimizer: self.optimizer.state()?,
        })
    }

    /// Go on from a state: the model that it was taken from, with its trained parameters back in
    /// place.
    ///
    /// `model` has the same frozen parameters and the same adapters attached, and lies on the device
    /// to train on; what its trained parameters hold does not matter.
    ///
    /// # Errors
    /// [`TrainError::State`] if the state is of another model.
    pub fn restore<M: Module>(&mut self, model: M, state: &TrainerState) -> Result<M, TrainError> {
        for (path, mean) in &state.optimizer.means {
            let length = |tensor: &HostTensor| tensor.shape.iter().product::<usize>();
            let parameter = state.parameters.get(path);
            if parameter.map(&length) != Some(length(mean)) {
                let problem = "its moments do not belong to a parameter of their length";
                return Err(TrainError::state(path, problem));
            }
        }
        let device = model.devices().into_iter().next().unwrap_or_default();
        let model = restore_parameters(model, &state.parameters)?;
        self.optimizer.restore(&state.optimizer, &device.inner())?;
        self.step = state.step;
        Ok(model)
    }
}

impl TrainerState {
    /// Write a safetensors file: `parameter.<path>`, `mean.<path>`, `square.<path>`, and the numbers
    /// of steps in the metadata. It appears whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let parts = [
            ("parameter", &self.parameters),
            ("mean", &self.optimizer.means),
            ("square", &self.optimizer.squares),
        ];
        let mut tensors = std::collections::HashMap::new();
        for (part, named) in parts {
            for (name, tensor) in named {
                tensors.insert(format!("{part}.{name}"), tensor);
            }
        }
        let specs = tensors
            .iter()
            .map(|(name, tensor)| TensorSpec::new(name, tensor.dtype, &*tensor.shape))
            .collect();
        let steps = |step: u64| step.to_string();
        let metadata = Metadata::from_iter([
            (FORMAT.0.to_owned(), FORMAT.1.to_owned()),
            ("step".to_owned(), steps(self.step)),
            ("optimizer_step".to_owned(), steps(self.optimizer.step)),
        ]);
        let mut writer = SafetensorsWriter::create(path, specs, &metadata)?;
        let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
        for name in order {
            writer.write(&name, &tensors[&name].bytes)?;
        }
        Ok(writer.finish()?)
    }

    /// Read a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// If it is missing, damaged, or something else.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let fault = |problem: String| TrainError::File {
            path: path.to_owned(),
            problem,
            fix: "restore the file, or train from the beginning".into(),
        };
        let file = AdapterFile::read(path)?;
        if file.metadata.get(FORMAT.0).map(String::as_str) != Some(FORMAT.1) {
            return Err(fault("it is no state of a trainer".into()));
        }
        let number = |key: &str| {
            let text = file.metadata.get(key);
            text.and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| fault(format!("`{key}` is missing from its metadata")))
        };
        let mut state = Self {
            step: number("step")?,
            ..Self::default()
        };
        state.optimizer.step = number("optimizer_step")?;
        for (name, tensor) in file.tensors {
            let (part, path) = name.split_once('.').unwrap_or(("", &name));
            let named = match part {
                "parameter" => &mut state.parameters,
                "mean" => &mut state.optimizer.means,
                "square" => &mut state.optimizer.squares,
                _ => return Err(fault(format!("tensor `{name}` has no place in it"))),
            };
            let tensor = HostTensor {
                dtype: tensor.dtype,
                shape: tensor.shape,
                bytes: tensor.bytes,
            };
            named.insert(path.to_owned(), tensor);
        }
        Ok(state)
    }
}
