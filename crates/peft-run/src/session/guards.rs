//! Runs that would end with nothing learned, or with nonsense.

use std::collections::BTreeMap;

use burn::module::Module;
use peft_models::{Model, Network};
use peft_train::{BadTensor, TrainError, adapter_parameters, trained_parameters};

use super::Session;
use crate::{RunError, batch::pack, checkpoint::hash};

/// A digest of what the adapter of each module holds, by the module's Burn path.
pub fn digests(model: &Model) -> Result<BTreeMap<String, String>, RunError> {
    let values = trained_parameters(model)?;
    let digests = adapter_parameters(model)
        .into_iter()
        .map(|(module, paths)| {
            let tensors = paths.iter().filter_map(|path| values.get(path));
            (
                module,
                hash::bytes(tensors.map(|tensor| tensor.bytes.as_slice())),
            )
        });
    Ok(digests.collect())
}

impl Session<'_> {
    /// Refuse adapters that hold the bits that they started with.
    pub fn expect_moved(&self) -> Result<(), RunError> {
        let now = digests(&self.model)?;
        let still: Vec<String> = now
            .iter()
            .filter(|(module, digest)| self.state.initial.get(*module) == Some(digest))
            .map(|(module, _)| module.clone())
            .collect();
        if still.is_empty() {
            return Ok(());
        }
        Err(TrainError::NotMoved {
            step: self.state.step,
            modules: still,
            cause: format!(
                "their gradients are there, so the steps are too small for their numbers: raise \
                 `learning_rate` ({:e} now) or `steps`, or lower `warmup`",
                self.trainer.config().learning_rate
            ),
        }
        .into())
    }

    /// An error of the loop with modules by the checkpoint's names.
    pub fn named(&self, mut error: RunError) -> RunError {
        use TrainError::{NoGradient, NotFinite, NotMoved, SilentAdapters};
        let rename = |path: &mut String| *path = self.names.to_hf(path);
        let RunError::Train(of_loop) = &mut error else {
            return error;
        };
        match of_loop {
            NotFinite {
                what: BadTensor::Parameter(path) | BadTensor::Gradient(path),
                ..
            } => rename(path),
            NoGradient { first } => rename(first),
            SilentAdapters { modules, .. } | NotMoved { modules, .. } => {
                modules.iter_mut().for_each(rename);
            }
            _ => {}
        }
        error
    }

    /// Look for the module behind a loss that is not finite: the step's forward passes once more,
    /// module by module.
    pub fn traced(&self, error: RunError, parts: &[&[usize]]) -> RunError {
        let RunError::Train(TrainError::NotFinite {
            step,
            what: BadTensor::Loss,
            learning_rate,
        }) = error
        else {
            return error;
        };
        let model = self.model.valid();
        let module = parts.iter().enumerate().find_map(|(part, rows)| {
            let device = self.device.clone().inner();
            let batch = self.fit.batch(rows).ok()?;
            let batch = pack(&model, &batch, &device).ok()?;
            let context = self.trainer.context(part);
            model.first_not_finite(&batch, &context)
        });
        let error = TrainError::NotFinite {
            step,
            what: module.map_or(BadTensor::Loss, BadTensor::Output),
            learning_rate,
        };
        error.into()
    }
}
