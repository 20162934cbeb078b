use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, TensorData},
};

use super::LoadedAdapter;
use crate::{
    AdapterError, AttachReport, HostTensor, LinearSite, Method, NameMap, attach_built,
    linear_sites, walk, walk::ParamPath,
};

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
    let sites: Vec<LinearSite> = linear_sites(&model)
        .into_iter()
        .map(|site| LinearSite {
            path: names.to_hf(&site.path),
            ..site
        })
        .collect();
    let linears: Vec<String> = sites.iter().map(|site| site.path.clone()).collect();
    adapter.expect_places(&linears, &hf_parameter_names(&model, names))?;
    let widest = adapter.widest(&sites);
    let saved = modules_of(&adapter.saved);
    let (model, report) = attach_built(model, names, &saved, |target, _| {
        adapter.restore(method, target, widest, device)
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
