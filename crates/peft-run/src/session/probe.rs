//! What a method looks at before it attaches: gradients of the pre-trained weights; and those of the
//! adapted ones, where it looks at them while it trains.

use std::collections::BTreeSet;

use burn::{Tensor, tensor::Device};
use peft_core::{AdapterContext, Method, NameMap, WeightGradients, linear_sites, train_weights};
use peft_data::Dataset;
use peft_models::{Network, PackedBatch};
use peft_train::{Objective, Targets, adapter_parameters};

use crate::{RunConfig, RunError, differentiate, labelled_batch};

/// The gradients of the mean losses of batches to the weights of some linear layers of a model,
/// `[in, out]`, by the checkpoint's names of their modules: batch by batch to `take`, so that no more
/// than one batch's are held. No dropout; the weights stay as they are.
///
/// # Errors
/// Those of the batches.
pub fn weight_gradients(
    model: &impl Network,
    names: &NameMap,
    modules: &BTreeSet<String>,
    objective: &dyn Objective,
    recompute: bool,
    batches: impl IntoIterator<Item = Result<(PackedBatch, Targets), RunError>>,
    mut take: impl FnMut(Vec<(String, Tensor<2>)>),
) -> Result<(), RunError> {
    let model = train_weights(model.clone(), names, modules);
    let context = AdapterContext::inference();
    for batch in batches {
        let (packed, wanted) = batch?;
        let mean = |output| objective.loss(output, wanted);
        let found = differentiate(&model, &packed, &context, recompute, mean).1;
        let gradients = linear_sites(&model).into_iter().filter_map(|site| {
            let gradient = found.get(&format!("{}.weight", site.path))?.clone();
            Some((names.to_hf(&site.path), gradient.reshape(site.matrix())))
        });
        take(gradients.collect());
    }
    Ok(())
}

/// The first batches of an epoch of a run, for a look at the loss's gradient.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    pub config: &'a RunConfig,
    pub objective: &'a dyn Objective,
    pub fit: &'a Dataset,
    pub device: &'a Device,
}

impl Probe<'_> {
    /// What `method` wants to know of the gradients of the mean loss to weights of linear layers, over
    /// the first batches of the run.
    pub fn weight_gradients(
        self,
        model: &impl Network,
        names: &NameMap,
        modules: &BTreeSet<String>,
        method: &dyn Method,
        batches: usize,
    ) -> Result<WeightGradients, RunError> {
        self.of(model, names, modules, method, [0, batches as u64])
    }

    /// The same of the effective weights of an adapted model, over the first `batches` of an `epoch`, by
    /// the Burn paths of their modules.
    pub fn adapted(
        self,
        model: &impl Network,
        method: &dyn Method,
        [epoch, batches]: [u64; 2],
    ) -> Result<WeightGradients, RunError> {
        let modules = adapter_parameters(model).into_keys().collect();
        let model = model.clone().materialize();
        self.of(
            &model,
            &NameMap::identity(),
            &modules,
            method,
            [epoch, batches],
        )
    }

    fn of(
        self,
        model: &impl Network,
        names: &NameMap,
        modules: &BTreeSet<String>,
        method: &dyn Method,
        [epoch, batches]: [u64; 2],
    ) -> Result<WeightGradients, RunError> {
        let (config, objective, fit) = (self.config, self.objective, self.fit);
        let plan = fit.plan(config.batch_size, config.seed, epoch)?;
        let batches = plan.iter_from(0).take(batches as usize);
        let batches = batches.map(|rows| labelled_batch(model, fit, rows, objective, self.device));
        let mut all = WeightGradients::new();
        let recompute = config.recompute;
        weight_gradients(
            model,
            names,
            modules,
            objective,
            recompute,
            batches,
            |one| {
                all.add(one, method);
            },
        )?;
        Ok(all)
    }
}
