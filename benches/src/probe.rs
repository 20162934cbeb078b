//! What a method does before the first step: gradients of the pre-trained weights, and fresh adapters.

use anyhow::{Context, Result};
use burn::tensor::Device;
use peft_run::{
    core::{
        AttachOptions, Method, SiteKind, WeightGradients, attach, format::TargetSpec,
        matched_modules,
    },
    data::{BatchPlan, Dataset},
    labelled_batch,
    models::SequenceModel,
    weight_gradients,
};

use crate::{
    Case,
    adapter::{method, named},
    protocol::{Measured, Setup},
    step::load,
    training::objective,
};

/// Epochs of the run that the probe is held against.
const EPOCHS: usize = 3;

/// One probe an iteration. It tells the tokens of a run of three epochs, so that its time a token, by
/// that of a training step, is the share that it adds to such a run.
pub struct ProbeCase {
    model: SequenceModel,
    data: Dataset,
    plan: BatchPlan,
    setup: Setup,
    method: Box<dyn Method>,
    device: Device,
    trained: usize,
}

impl ProbeCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let (model, data) = load(setup, &device)?;
        let plan = BatchPlan::new(&data.lengths(), setup.batch, setup.seed, 0)?;
        plan.get(0).context("no batch")?;
        let mut case = Self {
            model,
            data,
            plan,
            setup: setup.clone(),
            method: method(setup)?,
            device,
            trained: 0,
        };
        case.trained = case.probe()?;
        Ok(case)
    }

    /// Values that would be trained.
    fn probe(&self) -> Result<usize> {
        let (model, method) = (&self.model, self.method.as_ref());
        let (names, heads) = (model.names(), model.head_modules());
        let targets = TargetSpec::new(named(&self.setup.targets));
        let modules = matched_modules(model, &targets, SiteKind::LINEAR, &names, heads)?;
        let batches = self.plan.iter_from(0).take(method.gradients().batches);
        let objective = objective();
        let batches =
            batches.map(|rows| labelled_batch(model, &self.data, rows, &objective, &self.device));
        let mut gradients = WeightGradients::new();
        weight_gradients(
            model,
            &names,
            &modules,
            &objective,
            self.setup.recompute,
            batches,
            |one| {
                gradients.add(one, method);
            },
        )?;
        let options = AttachOptions {
            targets: &targets,
            names: &names,
            modules_to_save: &[],
            heads,
            seed: self.setup.seed,
            gradients: Some(&gradients),
        };
        let (_, report) = attach(model.clone(), method, &options)?;
        Ok(report.trainable_parameters())
    }
}

impl Case for ProbeCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        self.probe()?;
        let tokens = EPOCHS * self.data.lengths().iter().sum::<usize>();
        Ok(Measured::whole(tokens, None))
    }
}
