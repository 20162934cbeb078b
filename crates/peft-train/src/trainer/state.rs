//! Where a trainer stands, in memory and as a file.

use std::{collections::BTreeMap, path::Path};

use burn::{Tensor, module::Module, tensor::Device};
use peft_core::{Fields, HostTensor, HostTensorExt, Values};
use peft_format::{AdapterFile, Metadata, SafetensorsWriter, TensorSpec};

use super::Trainer;
use crate::{
    AdamWState, HostTensors, TrainError, parameters::adapter_parameters, restore_parameters,
    trained_parameters,
};

/// The key of the format in the file's metadata.
const FORMAT: &str = "format";
/// The format that is written.
const CURRENT: &str = "peft-trainer-2";
/// The one before, which is read, too. It counts the optimiser's steps, and those that a parameter was left
/// out of; a parameter without a gradient was not counted as left out.
const FIRST: &str = "peft-trainer-1";
/// What stands before a parameter's path where the metadata of the first format hold the steps that it was
/// left out of.
const IDLE: &str = "idle.";
/// What stands before a parameter's path where the metadata hold the steps that it has made.
const COUNT: &str = "count.";
/// What stands before an adapter's name where the metadata hold the steps in which rows chose it.
const CHOSEN: &str = "chosen.";

/// All that the steps to come depend on beside the data and the frozen model: trained parameters,
/// moments, the method's memory and counts of steps. Dropout and the schedule are functions of the number of steps done, so
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
    /// Of adapters with names, the steps in which any row chose them.
    pub chosen: BTreeMap<String, u64>,
    /// What the method remembers of adapters, by the Burn path of the adapted module and a name of the
    /// method's own: `<module>.<name>`.
    pub memory: HostTensors,
}

impl Trainer {
    /// A copy of where training stands; `model` is what the last step returned.
    ///
    /// # Errors
    /// For element types that safetensors files do not hold, and where the method has yet to
    /// [look](Self::look) at gradients.
    pub fn state<M: Module>(&self, model: &M) -> Result<TrainerState, TrainError> {
        if !self.due.is_empty() {
            return Err(TrainError::LookDue { step: self.step });
        }
        Ok(TrainerState {
            step: self.step,
            parameters: trained_parameters(model)?,
            optimizer: self.optimizer.state()?,
            chosen: self.chosen.clone(),
            memory: self.remembered()?,
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
        let device = device.inner();
        let memory = recall(&model, &state.memory, &device)?;
        self.optimizer.restore(&state.optimizer, &device)?;
        self.memory = memory;
        self.chosen = state.chosen.clone();
        self.due.clear();
        self.step = state.step;
        Ok(model)
    }
}

impl Trainer {
    /// The method's memory, on the host: see [`TrainerState::memory`].
    ///
    /// # Errors
    /// For element types that safetensors files do not hold.
    pub fn remembered(&self) -> Result<HostTensors, TrainError> {
        let mut tensors = HostTensors::new();
        for (module, memory) in &self.memory {
            for (name, values) in memory {
                let path = format!("{module}.{name}");
                let data = match values {
                    Values::Float(values) => values.clone().into_data(),
                    Values::Int(values) => values.clone().into_data(),
                };
                let tensor = HostTensor::from_data(&path, data)?;
                tensors.insert(path, tensor);
            }
        }
        Ok(tensors)
    }
}

/// The method's memory of a model's adapters, back on a device.
fn recall<M: Module>(
    model: &M,
    stored: &HostTensors,
    device: &Device,
) -> Result<BTreeMap<String, Fields<Values>>, TrainError> {
    let known = adapter_parameters(model);
    let mut memory = BTreeMap::<String, Fields<Values>>::new();
    for (path, tensor) in stored {
        let place = path.rsplit_once('.');
        let Some((module, name)) = place.filter(|(module, _)| known.contains_key(*module)) else {
            return Err(TrainError::state(path, "this model has no such adapter"));
        };
        let data = tensor.to_data(path)?;
        if data.shape().num_dims() != 1 {
            return Err(TrainError::state(path, "it is not flat"));
        }
        let dtype = data.dtype();
        let values = if dtype.is_float() {
            Values::Float(Tensor::from_data(data, (device, dtype)))
        } else {
            Values::Int(Tensor::from_data(data, (device, dtype)))
        };
        let all = memory.entry(module.to_owned()).or_default();
        all.insert(name.to_owned(), values);
    }
    Ok(memory)
}

impl TrainerState {
    /// Write a safetensors file: `parameter.<path>`, `mean.<path>`, `square.<path>`,
    /// `memory.<module>.<name>`, and the counts of steps in the metadata. It appears whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let parts = [
            ("parameter", &self.parameters),
            ("mean", &self.optimizer.means),
            ("square", &self.optimizer.squares),
            ("memory", &self.memory),
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
        let mut metadata = Metadata::from_iter([
            (FORMAT.to_owned(), CURRENT.to_owned()),
            ("step".to_owned(), steps(self.step)),
        ]);
        for (prefix, counts) in [(COUNT, &self.optimizer.counts), (CHOSEN, &self.chosen)] {
            let counts = counts.iter();
            metadata.extend(counts.map(|(of, count)| (format!("{prefix}{of}"), steps(*count))));
        }
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
        let format = file.metadata.get(FORMAT).map(String::as_str);
        if format != Some(CURRENT) && format != Some(FIRST) {
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
        for key in file.metadata.keys() {
            if let Some(path) = key.strip_prefix(COUNT) {
                state.optimizer.counts.insert(path.to_owned(), number(key)?);
            } else if let Some(name) = key.strip_prefix(CHOSEN) {
                state.chosen.insert(name.to_owned(), number(key)?);
            }
        }
        for (name, tensor) in file.tensors {
            let (part, path) = name.split_once('.').unwrap_or(("", &name));
            let named = match part {
                "parameter" => &mut state.parameters,
                "mean" => &mut state.optimizer.means,
                "square" => &mut state.optimizer.squares,
                "memory" => &mut state.memory,
                _ => return Err(fault(format!("tensor `{name}` has no place in it"))),
            };
            named.insert(path.to_owned(), tensor);
        }
        if format == Some(FIRST) {
            let all = number("optimizer_step")?;
            for path in state.optimizer.means.keys() {
                let idle = format!("{IDLE}{path}");
                let idle = match file.metadata.contains_key(&idle) {
                    true => number(&idle)?,
                    false => 0,
                };
                let count = all.checked_sub(idle).ok_or_else(|| {
                    fault(format!("`{path}` was left out of {idle} of {all} steps"))
                })?;
                state.optimizer.counts.insert(path.clone(), count);
            }
        }
        Ok(state)
    }
}
