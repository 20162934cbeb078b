use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{Int, TensorData},
};
use indexmap::IndexMap;
use peft_format::{
    AdapterConfig,
    adapter::{bias_key, join_key},
};

use super::shared::keep_one;
use crate::{
    AdapterError, AdapterRoster, DynAdapter, Fields, HostTensor, HostTensorExt, Method, NameMap,
    ParamPath, Site, SiteKind,
    attach::{is_saved, saved_with_biases},
    common::{saved_beside_whole, shared_key},
    sites, walk,
};

/// The tensors of a model's adapter file, by PEFT's names.
///
/// # Errors
/// If something is trained that the file would not hold: adapters of another method among them.
pub fn adapter_tensors<M: Module>(
    model: &M,
    method: &dyn Method,
    names: &NameMap,
    modules_to_save: &[String],
) -> Result<IndexMap<String, HostTensor>, AdapterError> {
    let collected = collect(model, None, method, names, modules_to_save)?;
    collected.expect_whole()?;
    exported(model, collected, method, names)
}

/// The values of a model that the file of an adapter, with a name or without, holds: fields of adapters
/// by their sites, and parameters saved in full.
fn collect<'a, M: Module>(
    model: &M,
    owner: Option<&'a str>,
    method: &dyn Method,
    names: &'a NameMap,
    modules_to_save: &'a [String],
) -> Result<Collect<'a>, AdapterError> {
    let roster = AdapterRoster::of(model);
    match owner {
        Some(name) => roster.expect_name(name)?,
        None if roster.names().is_empty() => {}
        None => {
            let known = roster.names().join("`, `");
            return Err(AdapterError::Unnamed { known });
        }
    }
    // Sites whose adapters another method made.
    let others = walk::adapters(model)
        .into_iter()
        .filter_map(|(path, adapter)| {
            let other = adapter.method().is_some_and(|name| !makes(method, name));
            (other && walk::owner_of(&path) == owner.unwrap_or_default()).then_some(path)
        });
    let mut collect = Collect {
        path: ParamPath::default(),
        others: others.collect(),
        unsaved: Vec::new(),
        owner,
        names,
        modules_to_save,
        dimensions: 0,
        fields: BTreeMap::new(),
        saved: BTreeMap::new(),
    };
    model.visit(&mut collect);
    Ok(collect)
}

/// Whether adapters that tell this name are a method's, or those of a part of it.
fn makes(method: &dyn Method, name: &str) -> bool {
    name == method.name() || method.part(name).is_some()
}

impl Collect<'_> {
    /// Refuse to leave out what is trained.
    fn expect_whole(&self) -> Result<(), AdapterError> {
        match self.unsaved.first() {
            None => Ok(()),
            Some(first) => Err(AdapterError::NotSaved {
                count: self.unsaved.len(),
                first: first.clone(),
            }),
        }
    }
}

fn exported<M: Module>(
    model: &M,
    mut collect: Collect,
    method: &dyn Method,
    names: &NameMap,
) -> Result<IndexMap<String, HostTensor>, AdapterError> {
    let mut tensors = IndexMap::new();
    // All adapters give the same.
    let owner = collect.owner.unwrap_or_default();
    let own = |(path, adapter): &&(String, DynAdapter)| {
        let by_another = adapter.method().is_some_and(|name| !makes(method, name));
        walk::owner_of(path) == owner && adapter.as_set().is_none() && !by_another
    };
    if let Some((_, adapter)) = walk::adapters(model).iter().find(own) {
        for (name, tensor) in adapter.shared() {
            tensors.insert(shared_key(&name), tensor);
        }
    }
    let mut modules: IndexMap<String, Fields<HostTensor>> = IndexMap::new();
    for site in sites(model) {
        let Some(fields) = collect.fields.remove(&site.path) else {
            continue;
        };
        let target = site.target(names.to_hf(&site.path));
        let stored = method.export(&target, fields)?;
        modules.insert(target.path, stored);
    }
    if let Some(first) = collect.fields.keys().next() {
        return Err(AdapterError::NotSaved {
            count: collect.fields.len(),
            first: first.clone(),
        });
    }
    for suffix in method.shared_suffixes() {
        keep_one(suffix, &mut modules);
    }
    let own: Vec<Site> = (sites(model).into_iter())
        .filter(|site| method.site_kinds().contains(&site.kind))
        .map(|site| Site {
            path: names.to_hf(&site.path),
            ..site
        })
        .collect();
    let whole = method.gather(&mut modules, &own)?;
    // PEFT has one wrapper less around a model whose adapter is none of its modules.
    let key = |module: &str, leaf: &str| match whole.is_empty() {
        true => join_key(module, leaf),
        false => saved_beside_whole(module, leaf),
    };
    for (name, tensor) in &whole {
        tensors.insert(name.clone(), tensor.clone());
    }
    let adapted: BTreeSet<String> = modules.keys().cloned().collect();
    for (module, stored) in modules {
        for (suffix, tensor) in stored {
            let key = join_key(method.file_module(&module), &suffix);
            tensors.insert(key, tensor);
        }
    }
    for (name, (data, transposed)) in collect.saved {
        let tensor = HostTensor::from_data(&name, data)?;
        let tensor = if transposed {
            tensor.transposed()
        } else {
            tensor
        };
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", &name));
        if let Some(copy) = collect.names.copy_of(&name)
            && is_saved(copy, collect.modules_to_save)
        {
            let (module, leaf) = copy.rsplit_once('.').unwrap_or(("", copy));
            tensors.insert(key(module, leaf), tensor.clone());
        }
        let key = match adapted.contains(module) && leaf == "bias" {
            true => bias_key(module),
            false => key(module, leaf),
        };
        tensors.insert(key, tensor);
    }
    if tensors.is_empty() {
        return Err(AdapterError::NothingTrained);
    }
    Ok(tensors)
}

/// Write a model's adapter as a folder that Hugging Face PEFT loads.
///
/// # Errors
/// If the folder cannot be written; an adapter already there is kept then.
pub fn save_adapter<M: Module>(
    model: &M,
    dir: &Path,
    config: &AdapterConfig,
    method: &dyn Method,
    names: &NameMap,
) -> Result<(), AdapterError> {
    save_at(model, None, dir, config, method, names)
}

/// Write one of several adapters, byte for byte as if it were the model's only one.
///
/// # Errors
/// As [`save_adapter`], and if the model has no adapter of the name.
pub fn save_adapter_as<M: Module>(
    model: &M,
    name: &str,
    dir: &Path,
    config: &AdapterConfig,
    method: &dyn Method,
    names: &NameMap,
) -> Result<(), AdapterError> {
    save_at(model, Some(name), dir, config, method, names)
}

fn save_at<M: Module>(
    model: &M,
    name: Option<&str>,
    dir: &Path,
    config: &AdapterConfig,
    method: &dyn Method,
    names: &NameMap,
) -> Result<(), AdapterError> {
    let saved = &saved_parameters(model, name, config, names);
    let collected = collect(model, name, method, names, saved)?;
    if name.is_none() {
        collected.expect_whole()?;
    }
    write_part(model, collected, dir, config, method, names)
}

/// What a configuration says to be in a file in full, as [`adapter_tensors`] is given it: modules to save, and
/// biases of an adapter, with a name or without, by their whole names.
pub fn saved_parameters<M: Module>(
    model: &M,
    name: Option<&str>,
    config: &AdapterConfig,
    names: &NameMap,
) -> Vec<String> {
    let target = config.target();
    let adapters = walk::adapters(model);
    let own = adapters.iter().filter(|(path, adapter)| {
        adapter.as_set().is_none() && walk::owner_of(path) == name.unwrap_or_default()
    });
    let adapted: BTreeSet<String> = own
        .map(|(path, _)| names.to_hf(&walk::adapted(path)))
        .collect();
    let own = walk::hf_parameters(model, names);
    saved_with_biases(&target.modules_to_save, &target.bias, &own, |module| {
        adapted.contains(&format!("{module}.weight"))
    })
}

/// One method of an adapter that several methods made, and its configuration.
#[derive(Debug, Clone, Copy)]
pub struct AdapterPart<'a> {
    /// The method.
    pub method: &'a dyn Method,
    /// `adapter_config.json` of the part; `modules_to_save` belong to the first part.
    pub config: &'a AdapterConfig,
}

/// Write an adapter that several methods made: a folder for each of them in `dir`, by its
/// [name](Method::name), each of which [`load_adapter`](crate::load_adapter) puts back beside the others.
///
/// # Errors
/// If something is trained that no part holds, or a folder cannot be written.
pub fn save_parts<M: Module>(
    model: &M,
    dir: &Path,
    parts: &[AdapterPart],
    names: &NameMap,
) -> Result<(), AdapterError> {
    let mut left: Option<Vec<String>> = None;
    let mut all = Vec::new();
    let saved = parts.iter();
    let saved: Vec<Vec<String>> = saved
        .map(|part| saved_parameters(model, None, part.config, names))
        .collect();
    for (part, saved) in parts.iter().zip(&saved) {
        let collected = collect(model, None, part.method, names, saved)?;
        // What every single part would leave out is in none.
        let unsaved = collected.unsaved.clone();
        left = Some(match left {
            None => unsaved,
            Some(left) => left
                .into_iter()
                .filter(|path| unsaved.contains(path))
                .collect(),
        });
        all.push((part, collected));
    }
    let left = left.unwrap_or_default();
    if let Some(first) = left.first() {
        return Err(AdapterError::NotSaved {
            count: left.len(),
            first: first.clone(),
        });
    }
    for (part, collected) in all {
        let folder = dir.join(part.method.name());
        let create = peft_format::FormatError::io("create", &folder);
        std::fs::create_dir_all(&folder).map_err(create)?;
        write_part(model, collected, &folder, part.config, part.method, names)?;
    }
    Ok(())
}

fn write_part<M: Module>(
    model: &M,
    collected: Collect,
    dir: &Path,
    config: &AdapterConfig,
    method: &dyn Method,
    names: &NameMap,
) -> Result<(), AdapterError> {
    let mut config = config.clone();
    let named = collected.fields.iter();
    let named = named.map(|(site, fields)| (names.to_hf(site), fields.clone()));
    for (key, value) in method.config_of_adapters(&named.collect()) {
        config.set(&key, value)?;
    }
    let tensors = exported(model, collected, method, names)?;
    peft_format::save_adapter(dir, &config, &tensors)?;
    Ok(())
}

struct Collect<'a> {
    path: ParamPath,
    /// Paths of adapters that other methods made.
    others: Vec<String>,
    /// Trained parameters that no file of this method would hold.
    unsaved: Vec<String>,
    /// The adapter's name.
    owner: Option<&'a str>,
    names: &'a NameMap,
    modules_to_save: &'a [String],
    /// Those of the model's parameter that was met last.
    dimensions: usize,
    fields: BTreeMap<String, Fields<TensorData>>,
    saved: BTreeMap<String, (TensorData, bool)>,
}

impl Collect<'_> {
    fn field(&mut self, data: impl FnOnce() -> TensorData) {
        if let Some(place) = self.path.adapter_place()
            && place.adapter.as_deref() == self.owner
        {
            let path = self.path.text();
            let other = |adapter: &String| {
                let rest = path.strip_prefix(adapter.as_str());
                rest.is_some_and(|rest| rest.starts_with('.'))
            };
            if self.others.iter().any(other) {
                self.unsaved.push(path);
                return;
            }
            let fields = self.fields.entry(place.module).or_default();
            fields.insert(place.field, data());
        }
    }

    fn save(&mut self, parameter: &ParamPath, data: TensorData) {
        let name = self.names.to_hf(&parameter.torch_leaves());
        let transposed = parameter.site().1 == SiteKind::Linear;
        self.saved.insert(name, (data, transposed));
    }
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some((owner, parameter)) = self.path.whole() {
            if Some(owner.as_str()) == self.owner {
                let value = param.base();
                // The model's own vector, which was met just before, is a matrix of one row here.
                let data = match self.dimensions {
                    1 => {
                        let length = value.shape().num_elements();
                        value.reshape([length]).into_data()
                    }
                    _ => value.into_data(),
                };
                self.save(&parameter, data);
            }
            return;
        }
        if self.path.in_adapter() {
            self.field(|| param.base().into_data());
            return;
        }
        self.dimensions = D;
        let name = self.names.to_hf(&self.path.torch_leaves());
        if self.owner.is_none() && is_saved(&name, self.modules_to_save) {
            let parameter = self.path.clone();
            self.save(&parameter, param.base().into_data());
        } else if self.owner.is_none() && param.base().is_require_grad() {
            self.unsaved.push(self.path.text());
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.field(|| param.base().into_data());
    }
}
