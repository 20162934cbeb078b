//! What a method looks at before it attaches: gradients of the pre-trained weights.

use std::collections::BTreeSet;

use burn::tensor::Device;
use peft_core::{AdapterContext, Method, NameMap, WeightGradients, linear_sites, train_weights};
use peft_data::Dataset;
use peft_models::SequenceModel;

use super::pack;
use crate::{RunConfig, TrainError, differentiate, loss, targets};

/// The first batches of a run, for a look at the loss's gradient.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    pub config: &'a RunConfig,
    pub fit: &'a Dataset,
    pub device: &'a Device,
}

impl Probe<'_> {
    /// What `method` wants to know of the gradients of the mean loss to weights of linear layers, over
    /// the first batches of the run. No dropout; the weights stay as they are, and gradients of one
    /// batch only are held.
    pub fn weight_gradients(
        self,
        model: &SequenceModel,
        names: &NameMap,
        modules: &BTreeSet<String>,
        method: &dyn Method,
    ) -> Result<WeightGradients, TrainError> {
        let model = train_weights(model.clone(), names, modules);
        let context = AdapterContext::inference();
        let mut all = WeightGradients::new();
        let plan = self.fit.plan(self.config.batch_size, self.config.seed, 0)?;
        for rows in plan.iter_from(0).take(method.gradient_batches()) {
            let (packed, batch) = pack(&model, self.fit, rows, self.device)?;
            let wanted = targets(&batch.labels, self.device)?;
            let mean = |outputs| loss(outputs, wanted);
            let recompute = self.config.recompute;
            let found = differentiate(&model, &packed, &context, recompute, mean).1;
            let gradients = linear_sites(&model).into_iter().filter_map(|site| {
                let gradient = found.get(&format!("{}.weight", site.path))?.clone();
                let shape = [site.in_features, site.out_features];
                Some((names.to_hf(&site.path), gradient.reshape(shape)))
            });
            all.add(gradients, method);
        }
        Ok(all)
    }
}
