//! What a method looks at before it attaches: gradients of the pre-trained weights.

use std::collections::{BTreeMap, BTreeSet};

use burn::{Tensor, tensor::Device};
use peft_core::{AdapterContext, NameMap, linear_sites, train_weights};
use peft_data::Dataset;
use peft_models::SequenceModel;

use super::pack;
use crate::{GradientSet, RunConfig, TrainError, differentiate, loss, targets};

/// The first batches of a run, for a look at the loss's gradient.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    pub config: &'a RunConfig,
    pub fit: &'a Dataset,
    pub device: &'a Device,
}

impl Probe<'_> {
    /// The gradients of the mean loss to weights of linear layers, `[in, out]`, summed over the first
    /// `batches` batches of the run, by the checkpoint's names of their modules. No dropout.
    pub fn weight_gradients(
        self,
        model: &SequenceModel,
        names: &NameMap,
        modules: &BTreeSet<String>,
        batches: usize,
    ) -> Result<BTreeMap<String, Tensor<2>>, TrainError> {
        let model = train_weights(model.clone(), names, modules);
        let context = AdapterContext::inference();
        let mut sum = GradientSet::default();
        let plan = self.fit.plan(self.config.batch_size, self.config.seed, 0)?;
        for rows in plan.iter_from(0).take(batches) {
            let (packed, batch) = pack(&model, self.fit, rows, self.device)?;
            let wanted = targets(&batch.labels, self.device)?;
            let mean = |outputs| loss(outputs, wanted);
            let recompute = self.config.recompute;
            sum.add(differentiate(&model, &packed, &context, recompute, mean).1);
        }
        let gradients = linear_sites(&model).into_iter().filter_map(|site| {
            let gradient = sum.get(&format!("{}.weight", site.path))?.clone();
            let shape = [site.in_features, site.out_features];
            Some((names.to_hf(&site.path), gradient.reshape(shape)))
        });
        Ok(gradients.collect())
    }
}
