//! The adapters that a setup asks for.

use anyhow::Result;
use burn::{module::Module, tensor::Device};
use peft_run::{
    core::{
        AttachOptions, Method, NameMap, WeightGradients, attach,
        format::{TargetModules, TargetSpec},
        linear_sites,
    },
    methods,
};
use serde_json::json;

use crate::{layer::random, protocol::Setup};

/// The method: LoRA with the setup's rank and alpha, or another by its name and its settings.
pub fn method(setup: &Setup) -> Result<Box<dyn Method>> {
    let lora = matches!(setup.adapter.as_str(), "lora" | "all-linear");
    let entry = methods::by_name(if lora { "lora" } else { &setup.adapter })?;
    let mut settings = (entry.defaults)();
    if lora {
        settings.insert("r".into(), setup.rank.into());
        settings.insert("lora_alpha".into(), json!(setup.alpha()));
    }
    settings.extend(setup.settings.clone());
    Ok((entry.build)(&settings)?)
}

/// A model with nothing trained but the adapters on its `targets`. A method that looks at gradients
/// before it attaches is given random ones: what a step costs does not depend on them.
pub fn adapted<M: Module>(model: M, setup: &Setup, targets: TargetModules) -> Result<M> {
    let method = method(setup)?;
    let mut gradients = WeightGradients::new();
    if method.gradients().batches > 0 {
        gradients.sums = linear_sites(&model)
            .into_iter()
            .map(|site| {
                let gradient = random(31, site.matrix(), 1.0, &Device::default());
                (site.path.to_string(), gradient)
            })
            .collect();
    }
    adapted_by(model, method.as_ref(), targets, Some(&gradients))
}

/// The same of a method that may want gradients.
pub fn adapted_by<M: Module>(
    model: M,
    method: &dyn Method,
    targets: TargetModules,
    gradients: Option<&WeightGradients>,
) -> Result<M> {
    let options = AttachOptions {
        targets: &TargetSpec::new(targets),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 0,
        gradients,
    };
    Ok(attach(model, method, &options)?.0)
}

/// Modules by name, or by a regular expression where there is one alone with a backslash.
pub fn named<S: AsRef<str>>(names: &[S]) -> TargetModules {
    if let [only] = names
        && only.as_ref().contains('\\')
    {
        return TargetModules::Regex(only.as_ref().to_owned());
    }
    TargetModules::List(names.iter().map(|name| name.as_ref().to_owned()).collect())
}
