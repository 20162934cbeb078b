//! Putting adapters on a model.

mod place;
mod saved;
mod targets;

use std::{collections::BTreeSet, sync::LazyLock};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
};
use peft_format::{TargetModules, TargetSpec};
use peft_kernels::decoded;

use crate::{
    AdapterError, Cost, InitContext, Method, NameMap, ParamPath, Site, SiteKind, Target,
    WeightGradients, site, sites, widest,
};

pub use place::attach_built;
pub(crate) use place::{Full, attach_at, replace};
pub use saved::{is_saved, saved_with_biases, train_modules};
pub use targets::{matched_modules, matched_sites, named_sites, resolve_sites, train_weights};

/// Where adapters go.
#[derive(Debug, Clone)]
pub struct AttachOptions<'a> {
    /// Which sites, by the checkpoint's names: linear layers, or what else the method
    /// [adapts](Method::site_kinds).
    pub targets: &'a TargetSpec,
    /// The checkpoint's names of the model's paths.
    pub names: &'a NameMap,
    /// Modules trained and saved in full, by the checkpoint's names (suffix match, as PEFT's).
    pub modules_to_save: &'a [String],
    /// Modules that `all-linear` passes over: the task's head, by the checkpoint's names.
    pub heads: &'a [&'a str],
    /// Seed of the initial values.
    pub seed: u64,
    /// Gradients of the weights, for a method that [wants them](Method::gradients).
    pub gradients: Option<&'a WeightGradients>,
}

/// Every linear layer, by its path in the Burn model; nothing is saved in full, and the seed is 0.
///
/// ```
/// use peft_core::{AttachOptions, format::{TargetModules, TargetSpec}};
/// let targets = TargetSpec::new(TargetModules::List(vec!["query".into(), "value".into()]));
/// let options = AttachOptions { targets: &targets, seed: 7, ..AttachOptions::default() };
/// assert!(options.modules_to_save.is_empty());
/// ```
impl Default for AttachOptions<'_> {
    fn default() -> Self {
        static ALL: LazyLock<TargetSpec> =
            LazyLock::new(|| TargetSpec::new(TargetModules::AllLinear));
        static NAMES: LazyLock<NameMap> = LazyLock::new(NameMap::identity);
        Self {
            targets: &ALL,
            names: &NAMES,
            modules_to_save: &[],
            heads: &[],
            seed: 0,
            gradients: None,
        }
    }
}

/// One adapted site.
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
    /// The adapted sites, in the model's order.
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

/// Freeze a model and put fresh adapters of `method` on the matched sites.
///
/// Every parameter of the model is frozen except adapters and `modules_to_save`. The targets of a
/// method that adapts nothing are not looked at. Adapters of other methods may be there, on other sites.
///
/// # Errors
/// If nothing matches, a name in the targets matches nothing, a matched site carries an adapter already, or
/// the method refuses a target.
pub fn attach<M: Module>(
    model: M,
    method: &dyn Method,
    options: &AttachOptions,
) -> Result<(M, AttachReport), AdapterError> {
    attach_fresh(model, None, method, options)
}

/// Freeze a model and put fresh adapters of `method` beside those it has, under a name of their own.
///
/// Adapters of other names stay as they are, trainable if they were; the first name of a model is active.
/// `modules_to_save` become the adapter's own copies: the model's stay what they are.
///
/// # Errors
/// As [`attach`]; if the name is taken or is none, or the model carries an adapter without a name.
pub fn attach_as<M: Module>(
    model: M,
    name: &str,
    method: &dyn Method,
    options: &AttachOptions,
) -> Result<(M, AttachReport), AdapterError> {
    attach_fresh(model, Some(name), method, options)
}

/// Put the sites that a method [adapts by itself](Method::also_adapts) beside those that targets match, all by
/// the checkpoint's names.
///
/// # Errors
/// If a site is among both, or the method's settings name one that is not there.
pub fn add_others(
    method: &dyn Method,
    sites: &[Site],
    matched: &mut BTreeSet<String>,
) -> Result<(), AdapterError> {
    for path in method.also_adapts(sites)? {
        if !matched.insert(path.clone()) {
            return Err(AdapterError::AdaptedTwice { path });
        }
    }
    Ok(())
}

/// The largest table of vectors of a model, `[entries, width]`: that of its tokens.
fn vocabulary<M: Module>(model: &M) -> Option<Tensor<2>> {
    #[derive(Default)]
    struct Tables {
        path: ParamPath,
        largest: Option<Tensor<2>>,
    }
    impl ModuleVisitor for Tables {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.path.in_adapter() || self.path.site().1 != SiteKind::Embedding {
                return;
            }
            let entries = param.lazy_shape()[0];
            let most = self.largest.as_ref().map_or(0, |table| table.dims()[0]);
            if entries > most {
                self.largest = Some(site::as_matrix(SiteKind::Embedding, param.base()));
            }
        }
    }
    let mut tables = Tables::default();
    model.visit(&mut tables);
    tables.largest
}

fn attach_fresh<M: Module>(
    model: M,
    name: Option<&str>,
    method: &dyn Method,
    options: &AttachOptions,
) -> Result<(M, AttachReport), AdapterError> {
    method.fits(&named_sites(&model, options.names))?;
    let mut matched = match method.adapts_weights() {
        true => matched_modules(
            &model,
            options.targets,
            method.site_kinds(),
            options.names,
            options.heads,
        )?,
        false => BTreeSet::new(),
    };
    add_others(method, &named_sites(&model, options.names), &mut matched)?;
    let mut matched_sites = sites(&model);
    matched_sites.retain(|site| matched.contains(&options.names.to_hf(&site.path)));
    let widest = widest(&matched_sites);
    let targets: Vec<Target> = matched_sites
        .iter()
        .map(|site| site.target(options.names.to_hf(&site.path)))
        .collect();
    let vocabulary = match method.wants_vocabulary() {
        true => vocabulary(&model),
        false => None,
    };
    let allotted = method.allot(&targets, options.gradients)?;
    attach_at(
        model,
        name,
        Some(method.name()),
        options.names,
        Full {
            modules: options.modules_to_save,
            bias: &options.targets.bias,
        },
        |target, weight| {
            let share = allotted
                .as_ref()
                .map(|shares| shares.get(&target.path).copied().unwrap_or(0));
            if !matched.contains(&target.path) || share == Some(0) {
                return Ok(None);
            }
            let weight = decoded(weight.clone());
            let start = InitContext {
                weight: &weight,
                gradient: options.gradients.and_then(|all| all.sums.get(&target.path)),
                magnitude: (options.gradients).and_then(|all| all.magnitudes.get(&target.path)),
                vocabulary: vocabulary.as_ref(),
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
