use std::{collections::BTreeMap, path::Path};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{Int, TensorData},
};
use indexmap::IndexMap;
use peft_format::{AdapterConfig, OwnedTensor, adapter::join_key};

use super::shared::keep_one;
use crate::{
    AdapterError, Fields, HostTensor, Method, NameMap, attach::is_saved, common::shared_key,
    linear_sites, walk, walk::ParamPath,
};

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
    let mut tensors = IndexMap::new();
    // All adapters give the same.
    if let Some((_, adapter)) = walk::adapters(model).first() {
        for (name, tensor) in adapter.shared() {
            tensors.insert(shared_key(&name), tensor);
        }
    }
    let mut modules = IndexMap::new();
    for site in linear_sites(model) {
        let target = site.target(names.to_hf(&site.path));
        let Some(fields) = collect.fields.remove(&target.path) else {
            continue;
        };
        let stored = method.export(&target, fields)?;
        modules.insert(target.path, stored);
    }
    for suffix in method.shared_suffixes() {
        keep_one(suffix, &mut modules);
    }
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
    dir: &Path,
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

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if let Some((module, field)) = self.path.adapter_field() {
            self.fields
                .entry(self.names.to_hf(&module))
                .or_default()
                .insert(field, param.base().into_data());
        }
    }
}
