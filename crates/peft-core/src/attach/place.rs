//! Putting adapters into their places.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, Reparameterizer},
    tensor::FloatDType,
};

use super::{
    AttachReport, AttachedTarget,
    saved::{train_modules, wholes},
};
use crate::{
    AdapterChoice, AdapterError, AdapterSet, DynAdapter, NameMap, ParamPath, Target,
    check_adapter_name, linear_sites, tied_parameters, walk,
};

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
    attach_at(model, None, names, modules_to_save, build)
}

/// The same, as the one adapter of the model or under a name beside others.
pub fn attach_at<M: Module>(
    model: M,
    name: Option<&str>,
    names: &NameMap,
    modules_to_save: &[String],
    mut build: impl FnMut(&Target, &Tensor<2>) -> Result<Option<DynAdapter>, AdapterError>,
) -> Result<(M, AttachReport), AdapterError> {
    let mut known = Known::of(&model, name)?;
    let model = model.map(&mut Freeze(ParamPath::default()));
    let mut attached = Vec::new();
    let mut adapters: Vec<(String, DynAdapter)> = Vec::new();
    for (path, mut target, weight) in linear_weights(&model, names) {
        if weight.dtype().is_float() {
            // Half-precision bases train their adapters in single precision, as PEFT does.
            target.dtype = match FloatDType::from(weight.dtype()) {
                FloatDType::F64 => FloatDType::F64,
                _ => FloatDType::F32,
            };
        }
        if let Some(adapter) = build(&target, &weight)? {
            let cost = adapter.cost(target.in_features, target.out_features);
            attached.push(AttachedTarget { target, cost });
            adapters.push((path, adapter));
        }
    }
    let all: usize = attached.iter().map(|target| target.cost.parameters).sum();
    let (model, saved_parameters) = match name {
        None => {
            let model = replace(model, adapters.into_iter().collect());
            train_modules(model, names, modules_to_save)
        }
        Some(name) => {
            let wholes = wholes(&model, names, modules_to_save)?;
            let saved = wholes.iter().map(|(_, whole)| whole.value.lazy_shape());
            let saved = saved.map(|shape| shape.num_elements()).sum();
            for (path, whole) in wholes {
                if adapters.iter().any(|(adapted, _)| *adapted == path) {
                    return Err(AdapterError::AdaptedAndSaved {
                        parameter: names.to_hf(&path),
                    });
                }
                adapters.push((path, DynAdapter::new(whole)));
            }
            let sets = adapters.into_iter().map(|(path, adapter)| {
                let set = known.with(&path, name, adapter);
                (path, DynAdapter::new(set))
            });
            (replace(model, sets.collect()), saved)
        }
    };
    if attached.is_empty() && saved_parameters == 0 {
        return Err(AdapterError::NothingTrained);
    }
    let tied = tied_parameters(&model);
    let own = |path: &str| {
        let adapter = path.rsplit_once('.').map_or("", |(adapter, _)| adapter);
        walk::owner_of(adapter) == name.unwrap_or_default()
    };
    let copies: usize = (tied.iter().filter(|one| own(&one.path)))
        .map(|one| one.values)
        .sum();
    let report = AttachReport {
        targets: attached,
        adapter_parameters: all - copies,
        saved_parameters,
        total_parameters: model.num_params(),
    };
    Ok((model, report))
}

/// The sets that a model has already.
struct Known {
    sets: BTreeMap<String, AdapterSet>,
    active: AdapterChoice,
}

impl Known {
    /// Those of a model that may take an adapter of a name, or the one without.
    fn of<M: Module>(model: &M, name: Option<&str>) -> Result<Self, AdapterError> {
        let mut sets = BTreeMap::new();
        for (path, adapter) in walk::adapters(model) {
            if !walk::owner_of(&path).is_empty() {
                continue;
            }
            let set = adapter.as_set();
            let place = walk::adapted(&path);
            match (set, name) {
                (Some(set), Some(_)) => {
                    sets.insert(place, set.clone());
                }
                // Of a set that others have left.
                (Some(set), None) if set.members().len() == 0 => {}
                _ => return Err(AdapterError::AlreadyAdapted { path: place }),
            }
        }
        let mut active = AdapterChoice::base();
        if let Some(name) = name {
            check_adapter_name(name)?;
            let members = || sets.values().flat_map(AdapterSet::members);
            if members().any(|(known, _)| known == name) {
                return Err(AdapterError::NameTaken { name: name.into() });
            }
            let now = members().next().and(sets.values().next());
            active = now.map_or_else(|| AdapterChoice::one(name), |set| set.active().clone());
        }
        Ok(Self { sets, active })
    }

    /// The set of a parameter, with one more.
    fn with(&mut self, path: &str, name: &str, adapter: DynAdapter) -> AdapterSet {
        let fresh = || AdapterSet::new(self.active.clone());
        let mut set = self.sets.remove(path).unwrap_or_else(fresh);
        set.set_active(self.active.clone());
        set.insert(name, adapter);
        set
    }
}

/// Every linear layer's weight, `[in, out]`, by its path, in the model's order.
fn linear_weights<M: Module>(model: &M, names: &NameMap) -> Vec<(String, Target, Tensor<2>)> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        weights: BTreeMap<String, Tensor<2>>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 2
                && let Some(path) = self.path.linear_of_weight()
            {
                let weight = param.base();
                let shape = [weight.dims()[0], weight.dims()[1]];
                self.weights.insert(path, weight.reshape(shape));
            }
        }
    }
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    let sites = linear_sites(model).into_iter();
    sites
        .filter_map(|site| {
            let weight = visitor.weights.remove(&site.path)?;
            let target = site.target(names.to_hf(&site.path));
            Some((format!("{}.weight", site.path), target, weight))
        })
        .collect()
}

/// Freezes what is not an adapter's.
struct Freeze(ParamPath);

impl ModuleMapper for Freeze {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.in_adapter() {
            true => param,
            false => param.set_require_grad(false),
        }
    }
}

/// Give parameters these adapters, by Burn path, in place of those they have.
pub fn replace<M: Module>(model: M, adapters: BTreeMap<String, DynAdapter>) -> M {
    let adapted = walk::adapters(&model);
    let adapted = adapted.iter().map(|(path, _)| walk::adapted(path));
    model.apply_reparameterization(&mut Place {
        adapted: adapted.collect(),
        adapters,
    })
}

struct Place {
    adapted: BTreeSet<String>,
    adapters: BTreeMap<String, DynAdapter>,
}

impl Reparameterizer for &mut Place {
    type Reparam = DynAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<DynAdapter>) {
        let Some(adapter) = self.adapters.remove(path) else {
            return (param, None);
        };
        if self.adapted.contains(path) {
            // Burn keeps the adapter that is there, and maps it next.
            adapter.replace_next();
            return (param, None);
        }
        (param, Some(adapter))
    }
}
