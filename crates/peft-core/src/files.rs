//! Adapters in the files of Hugging Face PEFT.

use std::{collections::BTreeMap, path::Path as FilePath};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, FloatDType, TensorData},
};
use indexmap::IndexMap;
use peft_format::{
    AdapterConfig, AdapterFile, OwnedTensor,
    adapter::{join_key, split_key, strip_prefix},
    near,
};

use crate::{
    AdapterError, AttachReport, DynAdapter, Fields, HostTensor, Method, NameMap, Target,
    attach::is_saved, attach_built, gradients::layer_type, linear_sites, walk, walk::ParamPath,
};

/// An adapter as its files hold it.
#[derive(Debug, Clone)]
pub struct LoadedAdapter {
    /// `adapter_config.json`.
    pub config: AdapterConfig,
    /// Tensors by the checkpoint's name of the adapted module, then by suffix.
    pub modules: BTreeMap<String, Fields<HostTensor>>,
    /// Parameters saved in full, by the checkpoint's names.
    pub saved: BTreeMap<String, HostTensor>,
}

impl LoadedAdapter {
    /// The adapter of one weight; `None` where the file has none.
    ///
    /// # Errors
    /// Those of [`Method::restore`].
    pub fn restore(
        &self,
        method: &dyn Method,
        target: &Target,
        device: &Device,
    ) -> Result<Option<DynAdapter>, AdapterError> {
        match self.modules.get(&target.path) {
            None => Ok(None),
            Some(tensors) => method.restore(target, tensors, device).map(Some),
        }
    }

    /// Refuse an adapter with tensors for modules that are not among `linears`, or with saved
    /// parameters that are not among `parameters` (both in the checkpoint's names).
    ///
    /// # Errors
    /// [`AdapterError::NoPlace`].
    pub fn expect_places(
        &self,
        linears: &[String],
        parameters: &[String],
    ) -> Result<(), AdapterError> {
        let lost: Vec<&String> = (self.modules.keys().filter(|name| !linears.contains(name)))
            .chain(self.saved.keys().filter(|name| !parameters.contains(name)))
            .collect();
        let Some(first) = lost.first() else {
            return Ok(());
        };
        let known = linears.iter().chain(parameters).map(String::as_str);
        let hint = near::did_you_mean(&near::nearest(first, known, 3));
        Err(AdapterError::NoPlace {
            count: lost.len(),
            first: (*first).clone(),
            hint,
        })
    }
}

/// Read an adapter folder; `method` tells which tensors belong to it.
///
/// # Errors
/// If the files are missing or broken.
pub fn read_adapter(
    dir: &FilePath,
    config: AdapterConfig,
    method: &dyn Method,
) -> Result<LoadedAdapter, AdapterError> {
    let file = AdapterFile::read(dir)?;
    let mut loaded = LoadedAdapter {
        config,
        modules: BTreeMap::new(),
        saved: BTreeMap::new(),
    };
    for (key, tensor) in file.tensors {
        let tensor = HostTensor {
            dtype: tensor.dtype,
            shape: tensor.shape,
            bytes: tensor.bytes,
        };
        match split_key(&key, method.suffixes()) {
            Some(split) => {
                let module = loaded.modules.entry(split.module.to_owned()).or_default();
                module.insert(split.suffix.to_owned(), tensor);
            }
            None => {
                let name = strip_prefix(&key).unwrap_or(&key).to_owned();
                loaded.saved.insert(name, tensor);
            }
        }
    }
    for suffix in method.shared_suffixes() {
        give_all(suffix, &mut loaded.modules);
    }
    Ok(loaded)
}

/// The modules of each layer type.
fn by_type<'a>(modules: impl Iterator<Item = &'a String>) -> Vec<Vec<String>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for module in modules {
        types
            .entry(layer_type(module))
            .or_default()
            .push(module.clone());
    }
    types.into_values().collect()
}

/// Give a shared tensor to all modules of the type of the one that has it.
fn give_all(suffix: &str, modules: &mut BTreeMap<String, Fields<HostTensor>>) {
    for kin in by_type(modules.keys()) {
        let mut owners = kin
            .iter()
            .filter(|module| modules[*module].contains_key(suffix));
        let (Some(owner), None) = (owners.next(), owners.next()) else {
            continue;
        };
        let tensor = modules[owner][suffix].clone();
        for module in &kin {
            let tensors = modules.get_mut(module).expect("listed just above");
            tensors
                .entry(suffix.to_owned())
                .or_insert_with(|| tensor.clone());
        }
    }
}

/// Leave a tensor to the first of the modules of a type, where all have the same.
fn keep_one(suffix: &str, modules: &mut IndexMap<String, Fields<HostTensor>>) {
    for kin in by_type(modules.keys()) {
        let [first, others @ ..] = kin.as_slice() else {
            continue;
        };
        let Some(tensor) = modules[first].get(suffix).cloned() else {
            continue;
        };
        if others
            .iter()
            .all(|module| modules[module].get(suffix) == Some(&tensor))
        {
            for module in others {
                modules[module].remove(suffix);
            }
        }
    }
}

/// Freeze a model and put an adapter from files on it, ready to be trained on or used.
///
/// # Errors
/// If the adapter was made for another base: tensors without a place, shapes that differ.
pub fn load_adapter<M: Module>(
    model: M,
    adapter: &LoadedAdapter,
    method: &dyn Method,
    names: &NameMap,
    device: &Device,
) -> Result<(M, AttachReport), AdapterError> {
    let linears: Vec<String> = linear_sites(&model)
        .iter()
        .map(|site| names.to_hf(&site.path))
        .collect();
    adapter.expect_places(&linears, &hf_parameter_names(&model, names))?;
    let saved = modules_of(&adapter.saved);
    let (model, report) = attach_built(model, names, &saved, |target, _| {
        adapter.restore(method, target, device)
    })?;
    let mut restore = RestoreSaved {
        path: ParamPath::default(),
        names,
        saved: &adapter.saved,
        error: None,
    };
    let model = model.map(&mut restore);
    match restore.error {
        Some(error) => Err(error),
        None => Ok((model, report)),
    }
}

/// The tensors of a model's adapter file, by PEFT's names.
///
/// # Errors
/// If an adapter on the model is not of this method.
pub fn adapter_tensors<M: Module>(
    model: &M,
    method: &dyn Method,
    names: &NameMap,
    modules_to_save: &[String],
) -> Result<IndexMap<String, HostTensor>, AdapterError> {
    exported(model, collect(model, names, modules_to_save), method, names)
}

/// The values of a model that its adapter file holds: fields of adapters by the checkpoint's names of
/// their modules, and parameters saved in full.
fn collect<'a, M: Module>(
    model: &M,
    names: &'a NameMap,
    modules_to_save: &'a [String],
) -> Collect<'a> {
    let mut collect = Collect {
        path: ParamPath::default(),
        names,
        modules_to_save,
        fields: BTreeMap::new(),
        saved: BTreeMap::new(),
    };
    model.visit(&mut collect);
    collect
}

fn exported<M: Module>(
    model: &M,
    mut collect: Collect,
    method: &dyn Method,
    names: &NameMap,
) -> Result<IndexMap<String, HostTensor>, AdapterError> {
    let mut modules = IndexMap::new();
    for site in linear_sites(model) {
        let target = site.target(names.to_hf(&site.path));
        let Some(fields) = collect.fields.remove(&target.path) else {
            continue;
        };
        let tensors = method.export(&target, fields)?;
        modules.insert(target.path, tensors);
    }
    for suffix in method.shared_suffixes() {
        keep_one(suffix, &mut modules);
    }
    let mut tensors = IndexMap::new();
    for (module, stored) in modules {
        for (suffix, tensor) in stored {
            tensors.insert(join_key(&module, &suffix), tensor);
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
        tensors.insert(join_key(module, leaf), tensor);
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
    dir: &FilePath,
    config: &AdapterConfig,
    method: &dyn Method,
    names: &NameMap,
) -> Result<(), AdapterError> {
    let collected = collect(model, names, config.modules_to_save());
    let mut config = config.clone();
    for (key, value) in method.config_of_adapters(&collected.fields) {
        config.set(&key, value)?;
    }
    let tensors = exported(model, collected, method, names)?
        .into_iter()
        .map(|(name, t)| {
            (
                name,
                OwnedTensor {
                    dtype: t.dtype,
                    shape: t.shape,
                    bytes: t.bytes,
                },
            )
        })
        .collect();
    peft_format::save_adapter(dir, &config, &tensors)?;
    Ok(())
}

/// The checkpoint's names of a model's own parameters.
fn hf_parameter_names<M: Module>(model: &M, names: &NameMap) -> Vec<String> {
    walk::parameters(model)
        .iter()
        .map(|site| names.to_hf(&site.torch_path))
        .collect()
}

/// The modules that parameters belong to.
fn modules_of(saved: &BTreeMap<String, HostTensor>) -> Vec<String> {
    let mut modules: Vec<String> = saved
        .keys()
        .map(|name| {
            name.rsplit_once('.')
                .map_or(name.as_str(), |(module, _)| module)
                .to_owned()
        })
        .collect();
    modules.dedup();
    modules
}

struct Collect<'a> {
    path: ParamPath,
    names: &'a NameMap,
    modules_to_save: &'a [String],
    fields: BTreeMap<String, Fields<TensorData>>,
    saved: BTreeMap<String, (TensorData, bool)>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some((module, field)) = self.path.adapter_field() {
            self.fields
                .entry(self.names.to_hf(&module))
                .or_default()
                .insert(field, param.base().into_data());
            return;
        }
        let name = self.names.to_hf(&self.path.torch_leaves());
        if is_saved(&name, self.modules_to_save) {
            let transposed = self.path.linear_of_weight().is_some();
            self.saved
                .insert(name, (param.base().into_data(), transposed));
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, burn::tensor::Int>>) {
        if let Some((module, field)) = self.path.adapter_field() {
            self.fields
                .entry(self.names.to_hf(&module))
                .or_default()
                .insert(field, param.base().into_data());
        }
    }
}

struct RestoreSaved<'a> {
    path: ParamPath,
    names: &'a NameMap,
    saved: &'a BTreeMap<String, HostTensor>,
    error: Option<AdapterError>,
}

impl RestoreSaved<'_> {
    fn value(
        &self,
        name: &str,
        stored: &HostTensor,
        shape: &[usize],
        dtype: FloatDType,
    ) -> Result<TensorData, AdapterError> {
        let tensor = match self.path.linear_of_weight() {
            Some(_) => stored.transposed(),
            None => stored.clone(),
        };
        tensor.expect_shape(name, shape)?.to_float(name, dtype)
    }
}

impl ModuleMapper for RestoreSaved<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.names.to_hf(&self.path.torch_leaves());
        let Some(stored) = self.saved.get(&name) else {
            return param;
        };
        if self.path.adapter_field().is_some() {
            return param;
        }
        let old = param.base();
        let shape: Vec<usize> = old.shape().iter().copied().collect();
        match self.value(&name, stored, &shape, FloatDType::from(old.dtype())) {
            Ok(data) => {
                let new = Tensor::<D>::from_data(data, (&old.device(), old.dtype()));
                param.map(|_| new).set_require_grad(true)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}
