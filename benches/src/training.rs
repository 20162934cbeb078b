//! A model with adapters, a trainer, and whole steps of it.

use anyhow::Result;
use burn::tensor::Device;
use peft_train::{
    AdamWConfig, Schedule, ScheduleKind, Trainer, TrainerConfig,
    core::{AttachOptions, Method, attach, format::TargetSpec},
    data::Labels,
    differentiate, loss,
    models::{PackedBatch, SequenceModel},
    targets,
};

use crate::{
    adapter::{method, named},
    protocol::{Measured, Setup},
};

/// What a step reads: token ids and segments, the rows' starts, and labels.
pub struct Inputs<'a> {
    pub ids: &'a [u32],
    pub type_ids: &'a [u32],
    pub starts: &'a [usize],
    pub labels: &'a Labels,
}

pub struct Training {
    model: Option<SequenceModel>,
    method: Box<dyn Method>,
    trainer: Trainer,
    device: Device,
    recompute: bool,
    pub trained: usize,
}

impl Training {
    /// Attaches the adapters that the setup asks for to a model on `device`.
    pub fn new(model: SequenceModel, setup: &Setup, device: &Device) -> Result<Self> {
        let names = model.names();
        let heads = model.head_modules();
        let saved: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        let method = method(setup)?;
        let targets = match setup.targets.as_slice() {
            [] => named(&["query", "value"]),
            given => named(given),
        };
        let options = AttachOptions {
            targets: &TargetSpec::new(targets),
            names: &names,
            modules_to_save: &saved,
            heads,
            seed: setup.seed,
            gradients: None,
        };
        let (model, report) = attach(model, method.as_ref(), &options)?;
        let config = TrainerConfig {
            learning_rate: 2e-3,
            head_learning_rate: 2e-3,
            clip_norm: Some(1.0),
            optimizer: AdamWConfig::default(),
            seed: setup.seed,
        };
        Ok(Self {
            model: Some(model),
            method,
            trainer: Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, u64::MAX)),
            device: device.clone(),
            recompute: setup.recompute,
            trained: report.trainable_parameters(),
        })
    }

    /// Forward, backward, clipping and AdamW.
    pub fn step(&mut self, inputs: &Inputs<'_>) -> Result<Measured> {
        let device = &self.device;
        let model = self.model.take().expect("put back after every step");
        let config = model.config().clone();
        let recompute = self.recompute;
        let (model, report) =
            self.trainer
                .step_with(model, self.method.as_ref(), 1, |model, _, context| {
                    let Inputs {
                        ids,
                        type_ids,
                        starts,
                        labels,
                    } = inputs;
                    let packed = PackedBatch::new(&config, ids, type_ids, starts, device)?;
                    let targets = targets(labels, device)?;
                    let loss = |outputs| loss(outputs, targets);
                    Ok(differentiate(model, &packed, context, recompute, loss))
                })?;
        self.model = Some(model);
        Ok(Measured {
            tokens: inputs.ids.len(),
            loss: Some(report.loss),
        })
    }
}
