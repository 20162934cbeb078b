//! One of the two ways to train that are compared.

use std::path::PathBuf;

use anyhow::{Result, bail};
use peft_run::{
    BaseOptions, OpenOptions, Progress, RunConfig, SelectedDevice,
    data::{Dataset, Labels, LoadOptions, Task},
    frozen_classes, open, predict, train,
};

use super::{Job, data::Files};

/// Rates were chosen on 942 of the rows to fit, the head's among 2e-3 to 5e-1 (docs/quickstart); the rows
/// held out chose nothing.
pub struct Arm {
    pub title: &'static str,
    method: &'static str,
    head_learning_rate: f64,
}

/// For each row held out whether it is answered right.
pub struct Marks {
    /// By what was trained.
    pub trained: Vec<bool>,
    /// By a logistic regression on the mean of the frozen model's hidden states, where it has any.
    pub frozen: Option<Vec<bool>>,
}

const EPOCHS: f64 = 2.0;
const MAX_LENGTH: usize = 64;
const BATCH: usize = 64;

impl Arm {
    pub const HEAD: Self = Self {
        title: "1 of 2: the model frozen, a head trained on top",
        method: "head",
        head_learning_rate: 2e-1,
    };
    pub const LORA: Self = Self {
        title: "2 of 2: LoRA on queries and values, and a head",
        method: "lora",
        head_learning_rate: 2e-3,
    };

    /// Where its adapter is.
    pub fn folder(&self, job: &Job) -> PathBuf {
        job.output.join(self.method)
    }

    /// Trains on the rows to fit, then tells for each row held out whether it is answered right; beside the head
    /// alone also by the frozen model's features.
    pub fn train_and_mark(
        &self,
        job: &Job,
        data: &Files,
        selected: &SelectedDevice,
        progress: &mut dyn Progress,
    ) -> Result<Marks> {
        let folder = self.folder(job);
        let task = Task::Classify;
        let mut config = RunConfig::new(&job.model, &data.fit, task, self.method, &folder);
        config.epochs = EPOCHS;
        config.steps = job.steps;
        config.max_length = MAX_LENGTH;
        config.head_learning_rate = Some(self.head_learning_rate);
        config.seed = job.seed;
        config.device = job.device;
        // The arm that was interrupted goes on; one that was not reached yet starts.
        config.resume = job.resume && folder.exists();
        config.overwrite = job.overwrite;
        train(&config, progress)?;
        let adapted = open(&OpenOptions {
            model: &job.model,
            adapter: Some(&folder),
            task: None,
            any_base: false,
            base: BaseOptions::default(),
            device: &selected.device,
        })?;
        let labels = adapted.task.label_map()?;
        let options = LoadOptions {
            labels: labels.as_ref(),
            ..LoadOptions::new(task, adapted.task.max_length)
        };
        let (rows, _) = Dataset::load(&data.held_out, &options, &adapted.tokenizer)?;
        let Labels::Classes(actual) = rows.labels() else {
            bail!("{} has no labels", data.held_out.display());
        };
        let objective = adapted.task.objective();
        let frozen = match self.method {
            "head" => {
                tell!("a logistic regression on features of the frozen model");
                let fit = LoadOptions {
                    labels: labels.as_ref(),
                    ..LoadOptions::new(task, adapted.task.max_length)
                };
                let (fit, _) = Dataset::load(&data.fit, &fit, &adapted.tokenizer)?;
                frozen_classes(&adapted.model, &fit, &rows, BATCH, &selected.device)?
            }
            _ => None,
        };
        let predictions = predict(
            &adapted.model,
            &rows,
            objective.as_ref(),
            BATCH,
            &selected.device,
        )?;
        let right =
            |(prediction, label): (&peft_run::Prediction, &u32)| prediction.class() == Some(*label);
        Ok(Marks {
            trained: predictions.iter().zip(&actual).map(right).collect(),
            frozen: frozen.map(|told| told.iter().zip(&actual).map(|(a, b)| a == b).collect()),
        })
    }
}
