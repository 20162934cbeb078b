//! A whole training step of a real model on real text.

use anyhow::Result;
use burn::tensor::Device;
use peft_train::{
    AdamWConfig, Schedule, ScheduleKind, Trainer, TrainerConfig,
    core::{
        AttachOptions, Method, attach,
        format::{TargetSpec, Targets},
    },
    data::{BatchPlan, Dataset, LoadOptions, Task, TextTokenizer},
    differentiate, loss, methods,
    models::{HeadSpec, ModelFolder, PackedBatch, SequenceModel},
    targets,
};
use serde_json::{Map, json};

use crate::{
    Case,
    protocol::{Measured, Setup},
};

pub struct StepCase {
    model: Option<SequenceModel>,
    method: Box<dyn Method>,
    trainer: Trainer,
    data: Dataset,
    device: Device,
    batch: usize,
    recompute: bool,
    seed: u64,
    epoch: u64,
    plan: BatchPlan,
    next: usize,
    trained: usize,
}

impl StepCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let mut folder = ModelFolder::open(&setup.model)?;
        if !setup.dropout {
            folder.set_dropout(0.0);
        }
        let tokenizer = TextTokenizer::from_dir(&setup.model)?;
        let options = LoadOptions::new(Task::Classify, setup.max_length);
        let (data, _) = Dataset::load(&setup.data, &options, &tokenizer)?;
        let outputs = data.label_map().map_or(1, |labels| labels.len());
        let (model, _) = SequenceModel::load(
            &folder,
            &HeadSpec {
                outputs,
                seed: setup.seed,
            },
            &device,
        )?;
        let names = model.names();
        let heads = model.head_modules();
        let saved: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        let mut settings = Map::new();
        settings.insert("r".into(), setup.rank.into());
        settings.insert("lora_alpha".into(), json!(setup.alpha()));
        let method = (methods::by_name("lora")?.build)(&settings)?;
        let names_of_targets = match setup.targets.as_slice() {
            [] => vec!["query".to_owned(), "value".to_owned()],
            given => given.to_vec(),
        };
        let options = AttachOptions {
            targets: &TargetSpec::new(Targets::List(names_of_targets)),
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
        let plan = BatchPlan::new(&data.lengths(), setup.batch, setup.seed, 0)?;
        Ok(Self {
            model: Some(model),
            method,
            trainer: Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, u64::MAX)),
            data,
            device,
            batch: setup.batch,
            recompute: setup.recompute,
            seed: setup.seed,
            epoch: 0,
            plan,
            next: 0,
            trained: report.trainable_parameters(),
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
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let rows = self.rows()?;
        let batch = self.data.batch(&rows)?;
        let device = &self.device;
        let model = self.model.take().expect("put back after every step");
        let config = model.config().clone();
        let recompute = self.recompute;
        let (model, report) =
            self.trainer
                .step_with(model, self.method.as_ref(), 1, |model, _, context| {
                    let packed = PackedBatch::new(
                        &config,
                        &batch.ids,
                        &batch.type_ids,
                        &batch.row_starts,
                        device,
                    )?;
                    let targets = targets(&batch.labels, device)?;
                    let loss = |outputs| loss(outputs, targets);
                    Ok(differentiate(model, &packed, context, recompute, loss))
                })?;
        self.model = Some(model);
        Ok(Measured {
            tokens: batch.tokens(),
            loss: Some(report.loss),
        })
    }
}
