//! One adapted layer, and its unadapted twin.

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterContext, AttachOptions, DynAdapter, Method, NameMap, ParamPath, Target, WeightGradients,
    attach,
    format::{TargetModules, TargetSpec},
    kernels::{Compute, compute, key_of, normal},
    nn::Linear,
};
use peft_methods::Entry;
use serde_json::{Map, Value};

/// The backend under test.
pub fn backend() -> String {
    std::env::var("PEFT_TEST_DEVICE").unwrap_or_else(|_| "flex".into())
}

pub fn device() -> Device {
    match backend().as_str() {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        "ndarray" => {
            #[allow(deprecated)] // Burn deprecates it as a whole, but still ships it.
            Device::ndarray()
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0usize),
        other => panic!("PEFT_TEST_DEVICE={other} is not compiled in"),
    }
}

/// The adapter's name and the field, at a parameter of an adapter; the copy that a bias carries is one with the weight's.
pub fn field_of(path: &ParamPath) -> Option<(Option<String>, String)> {
    if let Some(place) = path.adapter_place() {
        return Some((place.adapter, place.field));
    }
    let text = path.text();
    let (before, field) = text.split_once(".implied.")?;
    let name = before.rsplit_once(".@").map(|(_, name)| name.to_owned());
    Some((name, field.to_owned()))
}

/// A model with one linear layer.
#[derive(Module, Debug)]
pub struct Net {
    pub layer: Linear,
}

pub struct Case {
    pub entry: &'static Entry,
    pub method: Box<dyn Method>,
    pub settings: Map<String, Value>,
    pub inputs: usize,
    pub outputs: usize,
    pub rows: usize,
    pub seed: u64,
}

impl Case {
    pub fn new(
        entry: &'static Entry,
        settings: &Map<String, Value>,
        inputs: usize,
        outputs: usize,
        rows: usize,
        seed: u64,
    ) -> Self {
        let method = (entry.build)(settings).unwrap();
        Self {
            entry,
            method,
            settings: settings.clone(),
            inputs,
            outputs,
            rows,
            seed,
        }
    }

    /// f64 where the backend has it, and products are not rounded.
    pub fn dtype(&self) -> FloatDType {
        if backend() == "wgpu" || compute() != Compute::F32 {
            FloatDType::F32
        } else {
            FloatDType::F64
        }
    }

    /// What two ways of computing the same may differ by.
    pub fn tolerance(&self) -> f64 {
        match self.dtype() {
            FloatDType::F64 => 1e-12,
            // Factors have eight bits.
            _ if compute() == Compute::Bf16 => 2e-2,
            _ => 1e-5,
        }
    }

    pub fn target(&self, dtype: FloatDType) -> Target {
        Target::linear("layer", self.inputs, self.outputs, dtype)
    }

    pub fn random<const D: usize>(
        &self,
        what: &str,
        shape: [usize; D],
        dtype: FloatDType,
        device: &Device,
    ) -> Tensor<D> {
        let values: Vec<f64> = normal(key_of(self.seed, what, 0), shape.iter().product())
            .into_iter()
            .map(f64::from)
            .collect();
        let data = TensorData::new(values, shape).convert_dtype(dtype.into());
        Tensor::from_data(data, (device, dtype.into()))
    }

    pub fn input(&self, device: &Device) -> Tensor<2> {
        self.random("input", [self.rows, self.inputs], self.dtype(), device)
    }

    /// A gradient of the weight, for methods that look at it.
    pub fn gradients(&self, device: &Device) -> WeightGradients {
        let shape = [self.inputs, self.outputs];
        let mut all = WeightGradients::new();
        for batch in ["gradient", "another"] {
            let gradient = self.random(batch, shape, self.dtype(), &device.clone().inner());
            all.add([("layer".into(), gradient)], self.method.as_ref());
        }
        all
    }

    /// The unadapted model.
    pub fn base(&self, dtype: FloatDType, device: &Device) -> Net {
        // Stored as a checkpoint's: `[out, in]`, seen transposed.
        let weight = self
            .random("weight", [self.outputs, self.inputs], dtype, device)
            .transpose();
        let bias = self.random("bias", [self.outputs], dtype, device);
        Net {
            layer: Linear::new(weight, Some(bias)),
        }
    }

    /// What `act` makes of the options to attach adapters with.
    pub fn with_options<R>(&self, device: &Device, act: impl FnOnce(&AttachOptions) -> R) -> R {
        act(&AttachOptions {
            targets: &TargetSpec::new(TargetModules::List(vec!["layer".into()])),
            names: &NameMap::identity(),
            modules_to_save: &[],
            heads: &[],
            seed: self.seed,
            gradients: Some(&self.gradients(device)),
        })
    }

    /// The model with a fresh adapter.
    pub fn fresh(&self, dtype: FloatDType, device: &Device) -> Net {
        let base = self.base(dtype, device);
        let attached = |options: &AttachOptions| attach(base, self.method.as_ref(), options);
        let (model, report) = self.with_options(device, attached).unwrap();
        assert_eq!(report.targets.len(), 1);
        assert_eq!(report.adapter_parameters, report.targets[0].cost.parameters);
        model
    }

    /// The model with an adapter whose every value is random, as after training.
    pub fn trained(&self, dtype: FloatDType, device: &Device) -> Net {
        self.randomized(self.fresh(dtype, device))
    }

    /// The model with random values in all its adapters; one called `own` has those of one without a
    /// name.
    pub fn randomized(&self, model: Net) -> Net {
        struct Randomize<'a>(ParamPath, &'a Case);
        impl ModuleMapper for Randomize<'_> {
            fn enter_module(&mut self, name: &str, container: &str) {
                self.0.enter(name, container);
            }
            fn exit_module(&mut self, _: &str, _: &str) {
                self.0.exit();
            }
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let Some((adapter, field)) = field_of(&self.0) else {
                    return param;
                };
                let stream = match adapter.as_deref() {
                    None | Some("own") => field,
                    Some(other) => format!("{other}.{field}"),
                };
                let case = self.1;
                param.map(|old| {
                    let shape: [usize; D] = old.dims();
                    let dtype = FloatDType::from(old.dtype());
                    let device = old.device();
                    let trained = old.is_require_grad();
                    case.random(&stream, shape, dtype, &device)
                        .mul_scalar(0.3)
                        .set_require_grad(trained)
                })
            }
        }
        model.map(&mut Randomize(ParamPath::default(), self))
    }
}

impl Net {
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layer.forward(x, &AdapterContext::inference())
    }

    pub fn adapter(&self) -> &DynAdapter {
        self.layer
            .weight
            .reparameterization::<DynAdapter>()
            .unwrap()
    }
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    // Sums of products cancel: the largest value sets the scale.
    let scale = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        // Not `>`: a NaN must not pass.
        assert!(
            (a - e).abs() <= tolerance * scale,
            "{what}[{index}]: {a} is not {e}"
        );
    }
}
