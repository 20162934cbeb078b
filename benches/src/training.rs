//! A model with adapters, a trainer, and whole steps of it.

use anyhow::{Context, Result};
use burn::tensor::Device;
use peft_run::{
    RunError, ScheduleKind,
    core::{
        AttachOptions, Method, SiteKind, WeightGradients, attach,
        format::{self, TargetSpec},
        matched_modules,
    },
    differentiate, methods,
    models::{PackedBatch, SequenceModel},
    weight_gradients,
};
use peft_train::{
    AdamWConfig, Classification, Objective, Schedule, Targets, Trainer, TrainerConfig, Truth,
};

use crate::{
    adapter::{method, named},
    protocol::{Measured, Setup},
};

/// What is learned: the number of classes matters to its evaluation only.
pub fn objective() -> Classification {
    Classification::new(2)
}

/// What a step reads: token ids and segments, the rows' starts, and labels.
pub struct Inputs<'a> {
    pub ids: &'a [u32],
    pub type_ids: &'a [u32],
    pub starts: &'a [usize],
    pub truth: Truth<'a>,
}

impl Inputs<'_> {
    fn packed(
        &self,
        model: &SequenceModel,
        device: &Device,
    ) -> Result<(PackedBatch, Targets), RunError> {
        let Self {
            ids,
            type_ids,
            starts,
            truth,
        } = self;
        let packed = PackedBatch::new(model.config(), ids, type_ids, starts, device)?;
        let targets = objective().targets(truth, device)?;
        Ok((packed, targets))
    }
}

pub struct Training {
    model: Option<SequenceModel>,
    method: Box<dyn Method>,
    trainer: Trainer,
    device: Device,
    recompute: bool,
    pub trained: usize,
}

/// A trainer of long runs.
pub fn trainer(seed: u64) -> Trainer {
    let config = TrainerConfig {
        learning_rate: 2e-3,
        head_learning_rate: 2e-3,
        clip_norm: Some(1.0),
        optimizer: AdamWConfig::default(),
        seed,
    };
    Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, u64::MAX))
}

impl Training {
    /// Attaches the adapters that the setup asks for to a model on `device`: none trains the head alone,
    /// full the targets' weights in place of adapters. A method that wants gradients is shown those of
    /// `inputs`, as often as it wants some.
    pub fn new(
        model: SequenceModel,
        setup: &Setup,
        device: &Device,
        inputs: &Inputs<'_>,
    ) -> Result<Self> {
        let names = model.names();
        let heads = model.head_modules();
        let mut saved: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        let mut wanted = match setup.targets.as_slice() {
            [] => named(&["query", "value"]),
            given => named(given),
        };
        let method = match setup.adapter.as_str() {
            "none" | "full" => {
                let entry = methods::by_name("head")?;
                (entry.build)(&(entry.defaults)())?
            }
            _ => method(setup)?,
        };
        let modules = matched_modules(
            &model,
            &TargetSpec::new(wanted.clone()),
            SiteKind::LINEAR,
            &names,
            heads,
        )?;
        if setup.adapter == "full" {
            saved.extend(modules.iter().cloned());
        }
        if !method.adapts_weights() {
            wanted = format::TargetModules::Unspecified;
        }
        let count = method.gradients().batches;
        let mut gradients = WeightGradients::new();
        let batches = (0..count).map(|_| inputs.packed(&model, device));
        let (learned, recompute) = (objective(), setup.recompute);
        weight_gradients(
            &model,
            &names,
            &modules,
            &learned,
            recompute,
            batches,
            |one| {
                gradients.add(one, method.as_ref());
            },
        )?;
        let options = AttachOptions {
            targets: &TargetSpec::new(wanted),
            names: &names,
            modules_to_save: &saved,
            heads,
            seed: setup.seed,
            gradients: (count > 0).then_some(&gradients),
        };
        let (model, report) = attach(model, method.as_ref(), &options)?;
        Ok(Self {
            model: Some(model),
            method,
            trainer: trainer(setup.seed),
            device: device.clone(),
            recompute: setup.recompute,
            trained: report.trainable_parameters(),
        })
    }

    /// Forward, backward, clipping and AdamW.
    pub fn step(&mut self, inputs: &Inputs<'_>) -> Result<Measured> {
        let device = &self.device;
        let model = self.model.take().context("an earlier step failed")?;
        let recompute = self.recompute;
        let (model, report) =
            self.trainer
                .step_with(model, self.method.as_ref(), 1, |model, _, context| {
                    let (packed, targets) = inputs.packed(model, device)?;
                    let loss = |output| objective().loss(output, targets);
                    Ok(differentiate(model, &packed, context, recompute, loss))
                })?;
        self.model = Some(model);
        Ok(Measured::whole(inputs.ids.len(), Some(report.loss)))
    }
}
