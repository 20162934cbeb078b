//! Putting adapters into their places.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, Reparameterizer},
    tensor::FloatDType,
};

use super::{
    AttachReport, AttachedTarget,
    saved::{saved_with_biases, train_modules, wholes},
};
use peft_format::Bias;

use crate::{
    AdapterChoice, AdapterError, AdapterSet, DynAdapter, NameMap, ParamPath, SiteKind, Target,
    check_adapter_name, site, sites, slot, tied_parameters,
    walk::{self, hf_parameters},
};

/// Freeze a model and put on each site the adapter that `build` makes for it, if any: it is given the target
/// and the site's value seen as a [matrix](crate::matrix_shape), which is empty for a slot.
///
/// # Errors
/// Those of `build`, or if an adapter is of another kind than its site, the site carries one already, or
/// nothing would be trained.
pub fn attach_built<M: Module>(
    model: M,
    names: &NameMap,
    modules_to_save: &[String],
    build: impl FnMut(&Target, &Tensor<2>) -> Result<Option<DynAdapter>, AdapterError>,
) -> Result<(M, AttachReport), AdapterError> {
    let full = Full {
        modules: modules_to_save,
        bias: &Bias::None,
    };
    attach_at(model, None, None, names, full, build)
}

/// What is trained in full beside adapters.
#[derive(Clone, Copy)]
pub struct Full<'a> {
    /// Modules, or parameters by their whole names, in the checkpoint's names.
    pub modules: &'a [String],
    /// Biases.
    pub bias: &'a Bias,
}

/// The same, as the one adapter of the model or under a name beside others, by the method of a name.
pub fn attach_at<M: Module>(
    model: M,
    name: Option<&str>,
    method: Option<&'static str>,
    names: &NameMap,
    full: Full,
    mut build: impl FnMut(&Target, &Tensor<2>) -> Result<Option<DynAdapter>, AdapterError>,
) -> Result<(M, AttachReport), AdapterError> {
    let mut known = Known::of(&model, name)?;
    let model = model.map(&mut Freeze(ParamPath::default()));
    let mut attached = Vec::new();
    let mut adapters: Vec<(String, DynAdapter)> = Vec::new();
    let places = places(&model, names);
    let biases: BTreeSet<&str> = (places.iter())
        .filter(|place| place.target.kind == SiteKind::Parameter)
        .map(|place| place.path.as_str())
        .collect();
    for place in &places {
        let Some(adapter) = build(&place.target, &place.value)? else {
            continue;
        };
        let adapter = adapter.made_by(method);
        expect_kind(&adapter, &place.target)?;
        known.expect_free(&place.path, name)?;
        let cost = adapter.cost(&place.target);
        attached.push(AttachedTarget {
            target: place.target.clone(),
            cost,
        });
        if let Some(implied) = adapter.implied_bias()
            && let Some(module) = place.path.strip_suffix("weight")
        {
            let bias = format!("{module}bias");
            if biases.contains(bias.as_str()) {
                known.expect_free(&bias, name)?;
                adapters.push((bias, implied));
            }
        }
        adapters.push((place.path.clone(), adapter));
    }
    let all: usize = attached.iter().map(|target| target.cost.parameters).sum();
    let modules_to_save = &saved_with_biases(
        full.modules,
        full.bias,
        &hf_parameters(&model, names),
        |module| attached.iter().any(|one| one.target.path == module),
    );
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
                (path, DynAdapter::of_set(set))
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
    let copies: usize = (tied.iter().filter(|one| own(&one.path) && !one.implied))
        .map(|one| one.values)
        .sum();
    let implied = tied.iter().filter(|one| one.implied);
    let implied: usize = implied.map(|one| one.values).sum();
    let report = AttachReport {
        targets: attached,
        adapter_parameters: all - copies,
        saved_parameters,
        total_parameters: model.num_params() - implied,
    };
    Ok((model, report))
}

/// What a model has already.
struct Known {
    sets: BTreeMap<String, AdapterSet>,
    /// Places of adapters without a name.
    alone: BTreeSet<String>,
    active: AdapterChoice,
}

impl Known {
    /// Those of a model that may take an adapter of a name, or the one without.
    fn of<M: Module>(model: &M, name: Option<&str>) -> Result<Self, AdapterError> {
        let mut sets = BTreeMap::new();
        let mut alone = BTreeSet::new();
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
                (None, None) => {
                    alone.insert(place);
                }
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
        Ok(Self {
            sets,
            alone,
            active,
        })
    }

    /// Refuse a second adapter at one place; of names, each may have its own.
    fn expect_free(&self, path: &str, name: Option<&str>) -> Result<(), AdapterError> {
        if name.is_none() && self.alone.contains(path) {
            return Err(AdapterError::AlreadyAdapted {
                path: path.to_owned(),
            });
        }
        Ok(())
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

/// Refuse an adapter that cannot do anything where it is to go.
fn expect_kind(adapter: &DynAdapter, target: &Target) -> Result<(), AdapterError> {
    let fits = match target.kind {
        SiteKind::Slot => adapter.passing().is_some(),
        _ => adapter.passing().is_none(),
    };
    // A weight's adapter is one of a matrix.
    if fits && (target.shape.len() <= 2 || adapter.takes_any_shape()) {
        return Ok(());
    }
    Err(AdapterError::WrongKind {
        path: target.path.clone(),
        kind: target.kind,
        shape: target.shape.clone(),
    })
}

/// A site with all that adapters are made of.
struct Place {
    /// Burn path of the parameter or the slot.
    path: String,
    target: Target,
    /// Its value, seen as a matrix.
    value: Tensor<2>,
}

/// Every site of a model, in the model's order.
fn places<M: Module>(model: &M, names: &NameMap) -> Vec<Place> {
    #[derive(Default)]
    struct Values {
        path: ParamPath,
        values: BTreeMap<String, (String, Tensor<2>, FloatDType)>,
    }
    impl ModuleVisitor for Values {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.path.in_adapter() {
                return;
            }
            let (site, kind) = self.path.site();
            let value = param.base();
            let dtype = value.dtype();
            // Half-precision bases train their adapters in single precision, as PEFT does.
            let own = match dtype.is_float().then(|| FloatDType::from(dtype)) {
                Some(FloatDType::F64) => FloatDType::F64,
                _ => FloatDType::F32,
            };
            let value = site::as_matrix(kind, value);
            self.values.insert(site, (self.path.text(), value, own));
        }
    }
    let mut visitor = Values::default();
    model.visit(&mut visitor);
    // Modules of slots compute in the type of the model that they are put in.
    let double = visitor
        .values
        .values()
        .any(|value| value.2 == FloatDType::F64);
    let of_slots = match double {
        true => FloatDType::F64,
        false => FloatDType::F32,
    };
    let device = model.devices().into_iter().next().unwrap_or_default();
    let all = sites(model).into_iter();
    all.filter_map(|site| {
        let mut target = site.target(names.to_hf(&site.path));
        if site.kind == SiteKind::Slot {
            target.dtype = of_slots;
            let value = Tensor::empty([0, 0], (&device, of_slots.into()));
            let path = site.path;
            return Some(Place {
                path,
                target,
                value,
            });
        }
        let (path, value, dtype) = visitor.values.remove(&site.path)?;
        target.dtype = dtype;
        Some(Place {
            path,
            target,
            value,
        })
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

/// Give parameters and slots these adapters, by Burn path, in place of those they have.
pub fn replace<M: Module>(model: M, mut adapters: BTreeMap<String, DynAdapter>) -> M {
    let slots = sites(&model).into_iter();
    let slots = slots.filter(|site| site.kind == SiteKind::Slot);
    let of_slots: BTreeMap<String, DynAdapter> = slots
        .filter_map(|slot| adapters.remove_entry(&slot.path))
        .collect();
    let model = match of_slots.is_empty() {
        true => model,
        false => model.map(&mut Insert {
            path: ParamPath::default(),
            adapters: of_slots,
        }),
    };
    if adapters.is_empty() {
        return model;
    }
    let adapted = walk::adapters(&model);
    let adapted = adapted.iter().map(|(path, _)| walk::adapted(path));
    model.apply_reparameterization(&mut Attach {
        adapted: adapted.collect(),
        adapters,
    })
}

/// Puts modules into slots.
struct Insert {
    path: ParamPath,
    adapters: BTreeMap<String, DynAdapter>,
}

impl ModuleMapper for Insert {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
        if let Some(slot) = self.path.slot()
            && let Some(adapter) = self.adapters.remove(&slot)
        {
            slot::hold(adapter);
        }
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
}

struct Attach {
    adapted: BTreeSet<String>,
    adapters: BTreeMap<String, DynAdapter>,
}

impl Reparameterizer for &mut Attach {
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
