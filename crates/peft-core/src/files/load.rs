use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, TensorData},
};

use peft_format::Bias;

use super::LoadedAdapter;
use crate::{
    AdapterError, AttachReport, HostTensor, HostTensorExt, Method, NameMap, ParamPath, Site,
    SiteKind,
    attach::{Full, attach_at},
    sites,
    walk::hf_parameters,
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
    load_at(model, None, adapter, method, names, device)
}

/// The same under a name, beside the adapters that the model has: see [`attach_as`](crate::attach_as).
///
/// # Errors
/// As [`load_adapter`] and [`attach_as`](crate::attach_as).
pub fn load_adapter_as<M: Module>(
    model: M,
    name: &str,
    adapter: &LoadedAdapter,
    method: &dyn Method,
    names: &NameMap,
    device: &Device,
) -> Result<(M, AttachReport), AdapterError> {
    load_at(model, Some(name), adapter, method, names, device)
}

fn load_at<M: Module>(
    model: M,
    name: Option<&str>,
    adapter: &LoadedAdapter,
    method: &dyn Method,
    names: &NameMap,
    device: &Device,
) -> Result<(M, AttachReport), AdapterError> {
    let mut sites = sites(&model);
    for site in &mut sites {
        site.path = names.to_hf(&site.path);
    }
    sites.retain(|site| method.site_kinds().contains(&site.kind));
    let mut spread;
    let adapter = match adapter.whole.is_empty() {
        true => adapter,
        false => {
            spread = adapter.clone();
            spread.spread(method, &sites)?;
            &spread
        }
    };
    let mut parameters = hf_parameters(&model, names);
    for (name, tensor) in &adapter.saved {
        let Some(original) = names.original_of(name) else {
            continue;
        };
        if adapter.saved.get(original) != Some(tensor) {
            return Err(AdapterError::OneParameter {
                name: original.to_owned(),
                copy: name.clone(),
            });
        }
        parameters.push(name.clone());
    }
    // An adapter of a table that is the head, too, may be in the file a second time, as the head's.
    let twice = adapter.modules.keys().filter_map(|module| {
        let table = names.original_of(&format!("{module}.weight"))?;
        let table = table.strip_suffix(".weight")?;
        let there = adapter.modules.contains_key(table);
        there.then(|| Site::linear(module.clone(), 0, 0))
    });
    let places: Vec<Site> = sites.iter().cloned().chain(twice).collect();
    adapter.expect_places(&places, &parameters)?;
    let widest = adapter.widest(&sites);
    let saved = adapter.full_modules();
    let made_by = Some(method.name());
    let (model, report) = attach_at(
        model,
        name,
        made_by,
        names,
        Full {
            modules: &saved,
            bias: &Bias::None,
        },
        |target, _| match method.site_kinds().contains(&target.kind) {
            true => adapter.restore(method, target, widest, device),
            false => Ok(None),
        },
    )?;
    let mut restore = RestoreSaved {
        path: ParamPath::default(),
        names,
        saved: &adapter.saved,
        owner: name,
        error: None,
    };
    let model = model.map(&mut restore);
    match restore.error {
        Some(error) => Err(error),
        None => Ok((model, report)),
    }
}

struct RestoreSaved<'a> {
    path: ParamPath,
    names: &'a NameMap,
    saved: &'a BTreeMap<String, HostTensor>,
    /// The adapter that has the parameters, where it is not the model.
    owner: Option<&'a str>,
    error: Option<AdapterError>,
}

impl RestoreSaved<'_> {
    /// The model's parameter that is stored, if this is the place to restore it.
    fn parameter(&self) -> Option<ParamPath> {
        match (self.path.whole(), self.owner) {
            (Some((owner, parameter)), Some(wanted)) if owner == wanted => Some(parameter),
            (None, None) if !self.path.in_adapter() => Some(self.path.clone()),
            _ => None,
        }
    }

    fn value(
        &self,
        parameter: &ParamPath,
        name: &str,
        shape: &[usize],
        dtype: FloatDType,
    ) -> Option<Result<TensorData, AdapterError>> {
        let stored = self.saved.get(name)?;
        let tensor = match parameter.site().1 {
            SiteKind::Linear => stored.transposed(),
            _ => stored.clone(),
        };
        // An adapter of a set has a vector as a matrix of one row.
        let wanted = match (shape, stored.shape.len(), self.owner) {
            ([1, length], 1, Some(_)) => std::slice::from_ref(length),
            _ => shape,
        };
        let fits = tensor.expect_shape(name, wanted).map(|_| ());
        let tensor = HostTensor {
            shape: shape.to_vec(),
            ..tensor
        };
        Some(fits.and_then(|()| tensor.to_float(name, dtype)))
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
        let Some(parameter) = self.parameter() else {
            return param;
        };
        let name = self.names.to_hf(&parameter.torch_leaves());
        let old = param.base();
        let shape: Vec<usize> = old.shape().iter().copied().collect();
        match self.value(&parameter, &name, &shape, FloatDType::from(old.dtype())) {
            None => param,
            Some(Ok(data)) => {
                let new = Tensor::<D>::from_data(data, (&old.device(), old.dtype()));
                param.map(|_| new).set_require_grad(true)
            }
            Some(Err(error)) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}
