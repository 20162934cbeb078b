//! A training step of a language model on random tokens, all of which are to be predicted.

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use peft_run::{
    RunError,
    core::{
        AttachOptions, Method, attach,
        format::{TargetModules, TargetSpec},
        kernels::uniform,
    },
    differentiate,
    models::{HeadKind, Model, ModelFolder, Network, PackedBatch},
};
use peft_train::{NextToken, Objective, Targets, Trainer, Truth};

use crate::{
    Case,
    adapter::{method, named},
    protocol::{Measured, Setup},
    training::trainer,
};

pub struct CausalCase {
    model: Option<Model>,
    method: Box<dyn Method>,
    trainer: Trainer,
    device: Device,
    recompute: bool,
    ids: Vec<u32>,
    starts: Vec<usize>,
    trained: Vec<bool>,
    parameters: usize,
}

/// The model of a setup, with a head that predicts the next token.
pub fn load(setup: &Setup, device: &Device) -> Result<Model> {
    let mut folder = ModelFolder::open(&setup.model)?;
    if let Some(dtype) = setup.base_dtype {
        folder.set_base_dtype(dtype.into());
    }
    Ok(Model::load(&folder, HeadKind::Language, setup.seed, device)?.0)
}

/// Random tokens of the model's vocabulary.
pub fn tokens(model: &Model, seed: u64, count: usize) -> Vec<u32> {
    let words = model.description().input.vocab_size as f32;
    let draws = uniform(seed, count);
    draws.iter().map(|u| (u * words) as u32).collect()
}

impl CausalCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        ensure!(
            setup.trains() && setup.batch > 0 && setup.seq > 1,
            "language_step trains on one row or more of two tokens or more"
        );
        let device = device.clone().autodiff();
        let model = load(setup, &device)?;
        let names = model.description().names();
        let targets = match setup.adapter.as_str() {
            "all-linear" => TargetModules::AllLinear,
            _ => named(&setup.targets),
        };
        let method = method(setup)?;
        let options = AttachOptions {
            targets: &TargetSpec::new(targets),
            names: &names,
            modules_to_save: &[],
            heads: model.description().head_modules,
            seed: setup.seed,
            gradients: None,
        };
        let ids = tokens(&model, setup.seed, setup.batch * setup.seq);
        let (model, report) = attach(model, method.as_ref(), &options)?;
        Ok(Self {
            model: Some(model),
            method,
            trainer: trainer(setup.seed),
            device,
            recompute: setup.recompute,
            trained: (0..ids.len()).map(|place| place % setup.seq > 0).collect(),
            ids,
            starts: (0..=setup.batch).map(|row| row * setup.seq).collect(),
            parameters: report.trainable_parameters(),
        })
    }
}

/// What a step reads, with what it should predict.
fn packed(
    model: &Model,
    ids: &[u32],
    starts: &[usize],
    trained: &[bool],
    device: &Device,
) -> Result<(PackedBatch, Targets), RunError> {
    let packed = PackedBatch::new(model.description(), ids, &[], starts, device)?;
    let truth = Truth::Tokens {
        ids,
        starts,
        trained,
    };
    Ok((packed, NextToken.targets(&truth, device)?))
}

impl Case for CausalCase {
    fn trainable_parameters(&self) -> usize {
        self.parameters
    }

    fn run(&mut self) -> Result<Measured> {
        let model = self.model.take().context("an earlier step failed")?;
        let (ids, starts, trained) = (&self.ids, &self.starts, &self.trained);
        let (device, recompute) = (&self.device, self.recompute);
        let (model, report) =
            self.trainer
                .step_with(model, self.method.as_ref(), 1, |model, _, context| {
                    let (packed, targets) = packed(model, ids, starts, trained, device)?;
                    let loss = |output| NextToken.loss(output, targets);
                    Ok(differentiate(model, &packed, context, recompute, loss))
                })?;
        self.model = Some(model);
        Ok(Measured::whole(self.ids.len(), Some(report.loss)))
    }
}
