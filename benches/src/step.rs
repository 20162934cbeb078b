//! A whole training step of a real model on real text.

use anyhow::{Context, Result};
use burn::tensor::Device;
use peft_run::{
    data::{BatchPlan, Dataset, LoadOptions, Task, TextTokenizer},
    models::{HeadSpec, ModelFolder, SequenceModel},
    truth,
};

use crate::{
    Case,
    protocol::{Measured, Setup},
    training::{Inputs, Training},
};

pub struct StepCase {
    training: Training,
    data: Dataset,
    batch: usize,
    seed: u64,
    epoch: u64,
    plan: BatchPlan,
    next: usize,
}

/// The model and the rows that a setup names.
pub fn load(setup: &Setup, device: &Device) -> Result<(SequenceModel, Dataset)> {
    let mut folder = ModelFolder::open(&setup.model)?;
    if !setup.dropout {
        folder.set_dropout(0.0);
    }
    let tokenizer = TextTokenizer::from_dir(&setup.model)?;
    let options = LoadOptions::new(Task::Classify, setup.max_length);
    let (data, _) = Dataset::load(&setup.data, &options, &tokenizer)?;
    let head = HeadSpec {
        outputs: data.label_map().map_or(1, |labels| labels.len()),
        seed: setup.seed,
    };
    let (model, _) = SequenceModel::load(&folder, &head, device)?;
    Ok((model, data))
}

impl StepCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let (model, data) = load(setup, &device)?;
        let plan = BatchPlan::new(&data.lengths(), setup.batch, setup.seed, 0)?;
        let first = data.batch(plan.get(0).context("no batch")?)?;
        let inputs = Inputs {
            ids: &first.ids,
            type_ids: &first.type_ids,
            starts: &first.row_starts,
            truth: truth(&first).context("no labels")?,
        };
        Ok(Self {
            training: Training::new(model, setup, &device, &inputs)?,
            data,
            batch: setup.batch,
            seed: setup.seed,
            epoch: 0,
            plan,
            next: 0,
        })
    }

    /// The next whole batch, epoch after epoch.
    fn rows(&mut self) -> Result<Vec<usize>> {
        loop {
            match self.plan.get(self.next) {
                Some(rows) => {
                    self.next += 1;
                    if rows.len() == self.batch {
                        return Ok(rows.to_vec());
                    }
                }
                None => {
                    self.epoch += 1;
                    self.next = 0;
                    let lengths = self.data.lengths();
                    self.plan = BatchPlan::new(&lengths, self.batch, self.seed, self.epoch)?;
                }
            }
        }
    }
}

impl Case for StepCase {
    fn trainable_parameters(&self) -> usize {
        self.training.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let rows = self.rows()?;
        let batch = self.data.batch(&rows)?;
        self.training.step(&Inputs {
            ids: &batch.ids,
            type_ids: &batch.type_ids,
            starts: &batch.row_starts,
            truth: truth(&batch).context("no labels")?,
        })
    }
}
