//! The parameters that training changes, on the host.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Int, TensorData},
};
use peft_core::{HostTensor, HostTensorExt, ParamPath, kernels::decoded};

use crate::TrainError;

/// Tensors on the host, by the Burn paths of their parameters.
pub type HostTensors = BTreeMap<String, HostTensor>;

/// What of a model training may change: every field of its adapters, and every other parameter that
/// takes gradients.
///
/// # Errors
/// For element types that safetensors files of adapters do not hold.
pub fn trained_parameters<M: Module>(model: &M) -> Result<HostTensors, TrainError> {
    let mut read = Read::default();
    model.visit(&mut read);
    read.data
        .into_iter()
        .map(|(path, data)| {
            let tensor = HostTensor::from_data(&path, data)?;
            Ok((path, tensor))
        })
        .collect()
}

/// Those of the [`trained_parameters`] that are no adapter's: modules trained in full, such as a head.
///
/// # Errors
/// For element types that safetensors files of adapters do not hold.
pub fn trained_modules<M: Module>(model: &M) -> Result<HostTensors, TrainError> {
    let mut sites = Adapters::default();
    model.visit(&mut sites);
    let mut tensors = trained_parameters(model)?;
    tensors.retain(|path, _| !sites.paths.contains(path));
    Ok(tensors)
}

/// Put [`trained_parameters`] back, bit by bit, into a model that trains the same ones.
///
/// # Errors
/// [`TrainError::State`] if a tensor is missing, left over, or of another shape or type.
pub fn restore_parameters<M: Module>(model: M, tensors: &HostTensors) -> Result<M, TrainError> {
    let mut write = Write {
        path: ParamPath::default(),
        tensors,
        used: 0,
        error: None,
    };
    let model = model.map(&mut write);
    if let Some(error) = write.error {
        return Err(error);
    }
    if write.used < tensors.len() {
        let mut read = Read::default();
        model.visit(&mut read);
        let stray = tensors.keys().find(|path| !read.data.contains_key(*path));
        let name = stray.cloned().unwrap_or_default();
        return Err(TrainError::state(name, "this model does not train it"));
    }
    Ok(model)
}

/// The trained parameters of each adapted module, by the [key](peft_core::AdapterPlace::key) of module and
/// adapter.
pub fn adapter_parameters<M: Module>(model: &M) -> BTreeMap<String, Vec<String>> {
    let mut sites = Sites::default();
    model.visit(&mut sites);
    sites.modules
}

/// The paths of biases that are trained though the weights beside them are not, but for those of adapters.
pub(crate) fn lone_biases<M: Module>(model: &M) -> BTreeSet<String> {
    #[derive(Default)]
    struct Lone {
        path: ParamPath,
        biases: BTreeSet<String>,
        weights: BTreeSet<String>,
    }
    impl ModuleVisitor for Lone {
        follow_path!();

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.base().is_require_grad() || self.path.in_adapter() {
                return;
            }
            let path = self.path.text();
            match path.rsplit_once('.') {
                Some((_, "bias" | "beta")) => drop(self.biases.insert(path)),
                Some((module, _)) => drop(self.weights.insert(module.to_owned())),
                None => {}
            }
        }
    }
    let mut search = Lone::default();
    model.visit(&mut search);
    let Lone {
        mut biases,
        weights,
        ..
    } = search;
    biases.retain(|path| {
        let module = path.rsplit_once('.').map_or("", |(module, _)| module);
        !weights.contains(module)
    });
    biases
}

/// Whether a model trains anything that weight decay is not for: see [`ParamPath::decays`].
pub fn trains_undecayed<M: Module>(model: &M) -> bool {
    #[derive(Default)]
    struct Undecayed {
        path: ParamPath,
        found: bool,
    }
    impl ModuleVisitor for Undecayed {
        follow_path!();

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found |= param.base().is_require_grad() && !self.path.decays();
        }
    }
    let mut search = Undecayed::default();
    model.visit(&mut search);
    search.found
}

/// The path of the first parameter that holds NaN or infinity, in the model's order.
pub fn first_not_finite<M: Module>(model: &M) -> Option<String> {
    let mut search = Search::default();
    model.visit(&mut search);
    search.found
}

/// Whether no value is NaN or infinite.
pub(crate) fn is_finite<const D: usize>(tensor: &Tensor<D>) -> bool {
    // NaN and infinity survive a multiplication by 0, and nothing else becomes NaN by it.
    let sum = tensor.clone().mul_scalar(0.0).sum();
    sum.into_scalar::<f64>() == 0.0
}

#[derive(Default)]
struct Read {
    path: ParamPath,
    data: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Read {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        if value.is_require_grad() || self.path.in_adapter() {
            self.data.insert(self.path.text(), value.into_data());
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if self.path.in_adapter() {
            self.data.insert(self.path.text(), param.base().into_data());
        }
    }
}

struct Write<'a> {
    path: ParamPath,
    tensors: &'a HostTensors,
    used: usize,
    error: Option<TrainError>,
}

impl Write<'_> {
    /// The stored value of the parameter here, if it fits.
    fn value(&mut self, like: TensorData) -> Option<TensorData> {
        let path = self.path.text();
        let found = (self.tensors.get(&path))
            .ok_or_else(|| TrainError::state(&path, "it is missing"))
            .and_then(|tensor| Ok(tensor.to_data(&path)?))
            .and_then(|data| {
                if data.shape() == like.shape() && data.dtype() == like.dtype() {
                    return Ok(data);
                }
                let (found, wanted) = (data.shape(), like.shape());
                let problem = format!(
                    "it holds {:?} {found:?} where this model has {:?} {wanted:?}",
                    data.dtype(),
                    like.dtype()
                );
                Err(TrainError::state(&path, problem))
            });
        match found {
            Ok(data) => {
                self.used += 1;
                Some(data)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }
}

impl ModuleMapper for Write<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let old = param.base();
        let trained = old.is_require_grad();
        if !trained && !self.path.in_adapter() {
            return param;
        }
        let (device, dtype) = (old.device(), old.dtype());
        match self.value(old.into_data()) {
            None => param,
            Some(data) => {
                let new = Tensor::<D>::from_data(data, (&device, dtype));
                param.map(|_| new).set_require_grad(trained)
            }
        }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        if !self.path.in_adapter() {
            return param;
        }
        let old = param.base();
        let (device, dtype): (Device, _) = (old.device(), old.dtype());
        match self.value(old.into_data()) {
            None => param,
            Some(data) => {
                let new = Tensor::<D, Int>::from_data(data, (&device, dtype));
                // Adapters keep what they made of places by the parameter's identity.
                Param::initialized(ParamId::new(), new)
            }
        }
    }
}

#[derive(Default)]
struct Sites {
    path: ParamPath,
    modules: BTreeMap<String, Vec<String>>,
}

impl ModuleVisitor for Sites {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(place) = self.path.adapter_place()
            && param.base().is_require_grad()
        {
            let paths = self.modules.entry(place.key()).or_default();
            paths.push(self.path.text());
        }
    }
}

/// The paths of all fields of adapters.
#[derive(Default)]
struct Adapters {
    path: ParamPath,
    paths: BTreeSet<String>,
}

impl ModuleVisitor for Adapters {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        if self.path.in_adapter() {
            self.paths.insert(self.path.text());
        }
    }

    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {
        if self.path.in_adapter() {
            self.paths.insert(self.path.text());
        }
    }
}

#[derive(Default)]
struct Search {
    path: ParamPath,
    found: Option<String>,
}

impl ModuleVisitor for Search {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.found.is_none() && !is_finite(&decoded(param.base())) {
            self.found = Some(self.path.text());
        }
    }
}
