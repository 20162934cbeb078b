//! A module with a site of every kind, and an adapter of each kind as small as can be.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterContext, AdapterError, AdapterSpec, BaseLinear, Cost, DynAdapter, Fields, Hidden,
    HostTensor, HostTensorExt, InitContext, Method, ParameterAdapter, SiteKind, Slot, SlotAdapter,
    Target, WeightAdapter, nn,
};
use serde_json::{Map, Value};

fn matrix(key: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let values = peft_core::kernels::normal(key, shape[0] * shape[1]);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn vector(key: u64, length: usize, device: &Device) -> Tensor<1> {
    matrix(key, [1, length], device).reshape([length])
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[derive(Module, Debug)]
pub struct Toy {
    pub table: nn::Embedding,
    pub up: nn::Linear,
    pub down: nn::TransposedLinear,
    pub a_log: Param<Tensor<2>>,
    pub after: Slot<Hidden>,
}

impl Toy {
    pub fn new(device: &Device) -> Self {
        Self {
            table: nn::Embedding::new(matrix(1, [5, 4], device)),
            up: nn::Linear::new(matrix(2, [4, 6], device), Some(vector(3, 6, device))),
            down: nn::TransposedLinear::new(matrix(4, [6, 4], device), Some(vector(5, 4, device))),
            a_log: Param::from_tensor(matrix(6, [4, 3], device)),
            after: Slot::new([4]),
        }
    }

    pub fn forward(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let rates = nn::parameter(&self.a_log, context)
            .exp()
            .sum_dim(1)
            .transpose();
        let y = self
            .down
            .forward(self.up.forward(x.clone() * rates, context), context);
        self.after.through(y.clone(), &x, |y, x| y + x, context) + x
    }
}

/// The layers of a [`Toy`] as those that know dense weights only.
#[derive(Module, Debug)]
pub struct TransposedToy {
    pub up: burn::nn::Linear,
    pub down: burn::nn::Linear,
    pub rates: Param<Tensor<2>>,
}

impl TransposedToy {
    pub fn new(device: &Device) -> Self {
        let toy = Toy::new(device);
        let dense = |weight: Param<Tensor<2>>, bias| burn::nn::Linear { weight, bias };
        Self {
            up: dense(toy.up.weight, toy.up.bias),
            down: dense(toy.down.weight, toy.down.bias),
            rates: toy.a_log,
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let rates = self.rates.val().exp().sum_dim(1).transpose();
        self.down.forward(self.up.forward(x.clone() * rates)) + x
    }
}

/// Scales the outputs of a layer, bias included: `y ∘ (1 + s)`.
#[derive(Module, Debug)]
pub struct Scale {
    scale: Param<Tensor<1>>,
}

impl Scale {
    pub fn of(width: usize, device: &Device) -> Self {
        Self {
            scale: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn factor(&self) -> Tensor<2> {
        self.scale.val().add_scalar(1.0).unsqueeze()
    }
}

impl WeightAdapter for Scale {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        base.forward(x) * self.factor()
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        weight * self.factor()
    }

    fn implies_bias(&self) -> bool {
        true
    }

    fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        bias * self.scale.val().add_scalar(1.0)
    }

    fn cost(&self, _: usize, out_features: usize) -> Cost {
        Cost {
            parameters: out_features,
            ..Cost::default()
        }
    }
}

/// Adds to every value of a parameter.
#[derive(Module, Debug)]
pub struct Shift {
    shift: Param<Tensor<1>>,
}

impl Shift {
    pub fn of(length: usize, device: &Device) -> Self {
        Self {
            shift: Param::from_tensor(Tensor::zeros([length], device)),
        }
    }
}

impl ParameterAdapter for Shift {
    fn effective(&self, values: Tensor<1>, _: &[usize]) -> Tensor<1> {
        values + self.shift.val()
    }

    fn cost(&self, shape: &[usize]) -> Cost {
        Cost {
            parameters: shape.iter().product(),
            ..Cost::default()
        }
    }

    fn is_additive(&self) -> bool {
        true
    }
}

/// A narrow module that reads what the block's norm would make of the sum.
#[derive(Module, Debug)]
pub struct Bottleneck {
    down: Param<Tensor<2>>,
    up: Param<Tensor<2>>,
}

impl Bottleneck {
    pub fn of(width: usize, size: usize, device: &Device) -> Self {
        Self {
            down: Param::from_tensor(matrix(9, [width, size], device)),
            up: Param::from_tensor(Tensor::zeros([size, width], device)),
        }
    }
}

impl SlotAdapter for Bottleneck {
    type Passing = Hidden;

    fn forward(&self, hidden: Hidden, _: &AdapterContext) -> Tensor<2> {
        let narrow = hidden.normed.matmul(self.down.val()).tanh();
        hidden.x + narrow.matmul(self.up.val())
    }

    fn reads_norm(&self) -> bool {
        true
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        Cost {
            parameters: 2 * widths[0] * self.down.lazy_shape()[1],
            ..Cost::default()
        }
    }
}

/// A method of one of these, which files hold field by field.
#[derive(Debug, Clone)]
pub struct Toys {
    pub name: &'static str,
    pub peft_type: &'static str,
    pub kinds: &'static [SiteKind],
    fields: &'static [&'static str],
    build: fn(&Target, &Device) -> DynAdapter,
}

pub mod method {
    use super::{Bottleneck, DynAdapter, Scale, Shift, SiteKind, Toys};

    pub fn scale() -> Toys {
        Toys {
            name: "scale",
            peft_type: "SCALE",
            kinds: SiteKind::LINEAR,
            fields: &["scale"],
            build: |target, device| DynAdapter::new(Scale::of(target.out_features, device)),
        }
    }

    pub fn shift() -> Toys {
        Toys {
            name: "shift",
            peft_type: "SHIFT",
            kinds: &[SiteKind::Parameter],
            fields: &["shift"],
            build: |target, device| {
                let length = target.shape.iter().product();
                DynAdapter::of_parameter(Shift::of(length, device))
            },
        }
    }

    pub fn bottleneck() -> Toys {
        Toys {
            name: "bottleneck",
            peft_type: "BOTTLENECK",
            kinds: &[SiteKind::Slot],
            fields: &["down", "up"],
            build: |target, device| {
                DynAdapter::of_slot(Bottleneck::of(target.in_features, 2, device))
            },
        }
    }
}

impl Method for Toys {
    fn name(&self) -> &'static str {
        self.name
    }

    fn peft_type(&self) -> &'static str {
        self.peft_type
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        self.kinds
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        Ok((self.build)(target, &start.weight.device()))
    }

    fn describe(&self, _: &Target) -> Result<AdapterSpec, AdapterError> {
        unreachable!("nothing is planned here")
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.fields
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let load = |field: &str| -> Result<TensorData, AdapterError> {
            target
                .stored(tensors, field)?
                .to_float(field, FloatDType::F32)
        };
        fn param<const D: usize>(data: TensorData, device: &Device) -> Param<Tensor<D>> {
            Param::from_tensor(Tensor::from_data(data, device))
        }
        Ok(match self.name {
            "scale" => DynAdapter::new(Scale {
                scale: param(load("scale")?, device),
            }),
            "shift" => DynAdapter::of_parameter(Shift {
                shift: param(load("shift")?, device),
            }),
            _ => DynAdapter::of_slot(Bottleneck {
                down: param(load("down")?, device),
                up: param(load("up")?, device),
            }),
        })
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let stored = self.fields.iter().map(|field| {
            let tensor = target.to_store(&mut fields, field, field)?;
            Ok(((*field).to_owned(), tensor))
        });
        stored.collect()
    }
}
