//! Putting adapters on a model.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param, Reparameterizer},
    tensor::FloatDType,
};
use peft_format::TargetSpec;

use crate::{
    AdapterError, Cost, DynAdapter, InitContext, Method, NameMap, Target, WeightGradients,
    linear_sites, tied_parameters, walk, walk::ParamPath, widest,
};

/// Where adapters go.
#[derive(Debug, Clone)]
pub struct AttachOptions<'a> {
    /// Which linear layers, by the checkpoint's names.
    pub targets: &'a TargetSpec,
    /// The checkpoint's names of the model's paths.
    pub names: &'a NameMap,
    /// Modules trained and saved in full, by the checkpoint's names (suffix match, as PEFT's).
    pub modules_to_save: &'a [String],
    /// Modules that `all-linear` passes over: the task's head, by the checkpoint's names.
    pub heads: &'a [&'a str],
    /// Seed of the initial values.
    pub seed: u64,
    /// Gradients of the weights, for a method that [wants them](Method::gradient_batches).
    pub gradients: Option<&'a WeightGradients>,
}

/// One adapted weight.
#[derive(Debug, Clone)]
pub struct AttachedTarget {
    /// The target.
    pub target: Target,
    /// What its adapter costs.
    pub cost: Cost,
}

/// What [`attach`] did.
#[derive(Debug, Clone)]
pub struct AttachReport {
    /// The adapted weights, in the model's order.
    pub targets: Vec<AttachedTarget>,
    /// Values trained in adapters.
    pub adapter_parameters: usize,
    /// Values trained in full modules, the head among them.
    pub saved_parameters: usize,
    /// Values of the model, adapters included.
    pub total_parameters: usize,
}

impl AttachReport {
    /// All trained values.
    pub fn trainable_parameters(&self) -> usize {
        self.adapter_parameters + self.saved_parameters
    }
}

/// Freeze a model and put fresh adapters of `method` on the matched linear layers.
///
/// Every parameter of the model is frozen except the adapters and `modules_to_save`. The targets of a
/// method that adapts no weights are not looked at.
///
/// # Errors
/// If nothing matches, a name in the targets matches nothing, the model is adapted already, or the
/// method refuses a target.
pub fn attach<M: Module>(
    model: M,
    method: &dyn Method,
    options: &AttachOptions,
) -> Result<(M, AttachReport), AdapterError> {
    let matched = match method.adapts_weights() {
        true => matched_modules(&model, options.targets, options.names, options.heads)?,
        false => BTreeSet::new(),
    };
    let mut sites = linear_sites(&model);
    sites.retain(|site| matched.contains(&options.names.to_hf(&site.path)));
    let widest = widest(&sites);
    let targets: Vec<Target> = sites
        .iter()
        .map(|site| site.target(options.names.to_hf(&site.path)))
        .collect();
    let allotted = method.allot(&targets, options.gradients)?;
    attach_built(
        model,
        options.names,
        options.modules_to_save,
        |target, weight| {
            let share = allotted
                .as_ref()
                .map(|shares| shares.get(&target.path).copied().unwrap_or(0));
            if !matched.contains(&target.path) || share == Some(0) {
                return Ok(None);
            }
            let start = InitContext {
                weight,
                gradient: options.gradients.and_then(|all| all.sums.get(&target.path)),
                magnitude: (options.gradients).and_then(|all| all.magnitudes.get(&target.path)),
                allotted: share,
                moments: (options.gradients)
                    .and_then(|all| all.moments.get(&target.path))
                    .map(AsRef::as_ref),
                seed: options.seed,
            };
            method.init_among(target, &start, widest).map(Some)
        },
    )
}

/// The linear layers that targets match, by the checkpoint's names.
///
/// # Errors
/// If nothing matches, or a name in the targets matches nothing.
pub fn matched_modules<M: Module>(
    model: &M,
    targets: &TargetSpec,
    names: &NameMap,
    heads: &[&str],
) -> Result<BTreeSet<String>, AdapterError> {
    let sites = linear_sites(model);
    let paths = sites.iter().map(|site| names.to_hf(&site.path));
    let resolved = targets.resolve_linears(paths, heads)?;
    if let Some(near) = resolved.near {
        let names = resolved.unmatched.join("`, `");
        return Err(AdapterError::Unmatched {
            names,
            near: near.to_string(),
        });
    }
    Ok(resolved.matched.into_iter().collect())
}

/// Let gradients through to the weights of linear layers, by the checkpoint's names, and to nothing
/// else: what a method looks at before it attaches.
pub fn train_weights<M: Module>(model: M, names: &NameMap, modules: &BTreeSet<String>) -> M {
    struct Only<'a> {
        path: ParamPath,
        names: &'a NameMap,
        modules: &'a BTreeSet<String>,
    }
    impl ModuleMapper for Only<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.path.linear_of_weight() {
                Some(path) if self.modules.contains(&self.names.to_hf(&path)) => {
                    param.set_require_grad(true)
                }
                _ => param,
            }
        }
    }
    model.no_grad().map(&mut Only {
        path: ParamPath::default(),
        names,
        modules,
    })
}

/// Freeze a model and put on each linear layer the adapter that `build` makes for it, if any.
///
/// # Errors
/// Those of `build`, or if the model is adapted already, or nothing would be trained.
pub fn attach_built<M: Module>(
    model: M,
    names: &NameMap,
    modules_to_save: &[String],
    build: impl FnMut(&Target, &Tensor<2>) -> Result<Option<DynAdapter>, AdapterError>,
) -> Result<(M, AttachReport), AdapterError> {
    if let Some(site) = walk::parameters(&model)
        .iter()
        .find(|site| site.path.contains(".adapter."))
    {
        return Err(AdapterError::AlreadyAdapted {
            path: site.path.clone(),
        });
    }
    let linears: BTreeMap<String, Target> = linear_sites(&model)
        .into_iter()
        .map(|site| {
            let target = site.target(names.to_hf(&site.path));
            (format!("{}.weight", site.path), target)
        })
        .collect();
    let mut state = Attaching {
        linears,
        build,
        attached: Vec::new(),
        error: None,
    };
    let model = model.no_grad().apply_reparameterization(&mut state);
    let Attaching {
        attached, error, ..
    } = state;
    if let Some(error) = error {
        return Err(error);
    }
    let (model, saved_parameters) = train_modules(model, names, modules_to_save);
    let copies: usize = tied_parameters(&model).iter().map(|one| one.values).sum();
    let all: usize = attached.iter().map(|target| target.cost.parameters).sum();
    let adapter_parameters = all - copies;
    if attached.is_empty() && saved_parameters == 0 {
        return Err(AdapterError::NothingTrained);
    }
    let report = AttachReport {
        targets: attached,
        adapter_parameters,
        saved_parameters,
        total_parameters: model.num_params(),
    };
    Ok((model, report))
}

/// Let gradients through to whole modules (by the checkpoint's names, suffix match); tells how many
/// values they hold.
pub fn train_modules<M: Module>(model: M, names: &NameMap, modules: &[String]) -> (M, usize) {
    let mut saved = Unfreeze {
        path: ParamPath::default(),
        names,
        modules,
        values: 0,
    };
    let model = model.map(&mut saved);
    (model, saved.values)
}

/// Whether the parameter `name` lies in one of the modules to save, by PEFT's rule: the path of the module, or of
/// one around it, ends in the text, so that `classifier` means DistilBERT's `pre_classifier`, too.
pub fn is_saved(name: &str, modules: &[String]) -> bool {
    let mut path = name;
    while let Some((module, _)) = path.rsplit_once('.') {
        if modules.iter().any(|saved| module.ends_with(saved.as_str())) {
            return true;
        }
        path = module;
    }
    false
}

struct Attaching<F> {
    linears: BTreeMap<String, Target>,
    build: F,
    attached: Vec<AttachedTarget>,
    error: Option<AdapterError>,
}

impl<F> Reparameterizer for &mut Attaching<F>
where
    F: FnMut(&Target, &Tensor<2>) -> Result<Option<DynAdapter>, AdapterError>,
{
    type Reparam = DynAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<DynAdapter>) {
        let Some(target) = self.linears.get(path) else {
            return (param, None);
        };
        if self.error.is_some() {
            return (param, None);
        }
        let weight = param.base();
        let mut target = target.clone();
        if weight.dtype().is_float() {
            // Half-precision bases train their adapters in single precision, as PEFT does.
            target.dtype = match FloatDType::from(weight.dtype()) {
                FloatDType::F64 => FloatDType::F64,
                _ => FloatDType::F32,
            };
        }
        let weight = weight.reshape([target.in_features, target.out_features]);
        match (self.build)(&target, &weight) {
            Ok(Some(adapter)) => {
                let cost = adapter.cost(target.in_features, target.out_features);
                self.attached.push(AttachedTarget { target, cost });
                (param, Some(adapter))
            }
            Ok(None) => (param, None),
            Err(error) => {
                self.error = Some(error);
                (param, None)
            }
        }
    }
}

/// Lets gradients through to the modules that are saved in full.
struct Unfreeze<'a> {
    path: ParamPath,
    names: &'a NameMap,
    modules: &'a [String],
    values: usize,
}

impl ModuleMapper for Unfreeze<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.adapter_field().is_some() {
            return param;
        }
        if !is_saved(&self.names.to_hf(&self.path.torch_leaves()), self.modules) {
            return param;
        }
        self.values += param.lazy_shape().num_elements();
        param.set_require_grad(true)
    }
}

#[cfg(test)]
mod tests {
    use super::is_saved;

    #[test]
    fn saved_modules_are_suffixes_of_module_paths() {
        let saved = ["classifier".to_owned(), "pooler".to_owned()];
        assert!(is_saved("classifier.weight", &saved));
        assert!(is_saved("bert.pooler.dense.bias", &saved));
        assert!(is_saved("pre_classifier.weight", &saved));
        assert!(!is_saved("bert.encoder.weight", &saved));
    }
}
