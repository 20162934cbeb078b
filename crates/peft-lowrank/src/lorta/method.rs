use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Common, DynAdapter, Fields, HostTensor, HostTensorExt, InitContext,
    Method, Target,
    format::{Dtype, TensorInfo},
    kernels::{key_of, uniform},
    shared_key,
};
use serde_json::{Map, Value};

use super::{
    adapter::{A, B, HEADS, Lorta, LortaPlace, cost, tie},
    config::{LortaConfig, fault},
};

const LAYER: &str = "lorta_layer";
const MATRIX: &str = "lorta_matrix";

/// LoRTA ([2410.04060](https://arxiv.org/abs/2410.04060)) as a [`Method`]: see [`Lorta`].
///
/// The authors' code takes heads along the outputs for all four matrices of an attention, the one
/// behind it as well, and so does this. All adapted weights must have the same widths. Files are of our
/// own: `A`, `B` and the heads once, the layer's and the matrix's vector with each module.
#[derive(Debug, Clone)]
pub struct LortaMethod {
    config: LortaConfig,
}

/// The fields of an adapter.
struct Parts {
    a: Tensor<2>,
    b: Tensor<2>,
    heads: Tensor<2>,
    layer: Tensor<1>,
    matrix: Tensor<1>,
}

impl LortaMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "lorta";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "LORTA";

    /// LoRTA with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: LortaConfig) -> Result<Self, AdapterError> {
        config.check()?;
        Ok(Self { config })
    }

    /// LoRTA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(LortaConfig::from_json(map)?)
    }

    /// The settings.
    pub fn settings(&self) -> &LortaConfig {
        &self.config
    }

    /// Outputs of a head.
    fn head_width(&self, target: &Target) -> Result<usize, AdapterError> {
        let (heads, outputs) = (self.config.num_heads, target.out_features);
        if !outputs.is_multiple_of(heads) {
            let path = &target.path;
            let problem = format!("the {outputs} outputs of `{path}` are not {heads} heads");
            return Err(fault(
                problem,
                "give the model's number of heads as num_heads",
            ));
        }
        Ok(outputs / heads)
    }

    fn adapter(&self, target: &Target, parts: Parts) -> DynAdapter {
        DynAdapter::new(Lorta {
            a: Param::from_tensor(parts.a),
            b: Param::from_tensor(parts.b),
            heads: Param::from_tensor(parts.heads),
            layer: Param::from_tensor(parts.layer),
            matrix: Param::from_tensor(parts.matrix),
            scaling: self.config.scaling,
            dropout: self.config.dropout,
            at: LortaPlace::of(&target.path),
        })
    }
}

/// One tensor for weights of different widths is not what LoRTA is.
fn expect_same_widths(target: &Target, widest: [usize; 2]) -> Result<(), AdapterError> {
    let [inputs, outputs] = [target.in_features, target.out_features];
    if widest == [inputs, outputs] {
        return Ok(());
    }
    let path = &target.path;
    let [most_in, most_out] = widest;
    let problem = format!(
        "`{path}` is {inputs} → {outputs} where another adapted layer has {most_in} inputs or \
         {most_out} outputs"
    );
    Err(fault(
        problem,
        "adapt layers of one size, such as those of the attention",
    ))
}

impl Method for LortaMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let width = self.head_width(target)?;
        let (r, at) = (self.config.r, LortaPlace::of(&target.path));
        let device = start.weight.device();
        let draw = |field: &str, count: usize, bound: f64| -> Vec<f64> {
            // Of the tie's name, not the path: what is one starts as one.
            let name = tie(field, &at).unwrap_or_default();
            let numbers = uniform(
                key_of(start.seed, &format!("{} {name}", Self::NAME), 0),
                count,
            );
            (numbers.iter())
                .map(|u| (2.0 * f64::from(*u) - 1.0) * bound)
                .collect()
        };
        let dtype = target.dtype.into();
        let options = (&device, dtype);
        let data = |values: Vec<f64>, shape: Vec<usize>| {
            TensorData::new(values, shape).convert_dtype(dtype)
        };
        let inputs = target.in_features;
        let a = draw("a", inputs * r, 1.0 / (inputs as f64).sqrt());
        // Kaiming's bound of rows of r, with a = √5 · init_scale.
        let scale = self.config.init_scale;
        let bound = (6.0 / ((1.0 + 5.0 * scale * scale) * r as f64)).sqrt();
        let heads = self.config.num_heads;
        let parts = Parts {
            a: Tensor::from_data(data(a, vec![inputs, r]), options),
            b: Tensor::zeros([r, width], options),
            heads: Tensor::from_data(
                data(draw("heads", heads * r, bound), vec![heads, r]),
                options,
            ),
            layer: Tensor::from_data(data(draw("layer", r, bound), vec![r]), options),
            matrix: Tensor::from_data(data(draw("matrix", r, bound), vec![r]), options),
        };
        Ok(self.adapter(target, parts))
    }

    fn init_among(
        &self,
        target: &Target,
        start: &InitContext,
        widest: [usize; 2],
    ) -> Result<DynAdapter, AdapterError> {
        expect_same_widths(target, widest)?;
        self.init(target, start)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        self.head_width(target)?;
        let LortaConfig {
            r,
            num_heads,
            dropout,
            ..
        } = self.config;
        let vector = || target.values_info(&[r]);
        let (inputs, outputs) = (target.in_features, target.out_features);
        Ok(AdapterSpec {
            cost: cost(r, num_heads, dropout, inputs, outputs),
            keeps_input: dropout == 0.0,
            tensors: Fields::from([(LAYER.to_owned(), vector()), (MATRIX.to_owned(), vector())]),
        })
    }

    fn describe_shared(&self, [inputs, outputs]: [usize; 2]) -> Fields<TensorInfo> {
        let (r, heads) = (self.config.r, self.config.num_heads);
        let shapes = [
            (A, [r, inputs]),
            (B, [outputs / heads, r]),
            (HEADS, [heads, r]),
        ];
        let named = shapes.map(|(name, shape)| {
            let info = TensorInfo {
                dtype: Dtype::F32,
                shape: shape.to_vec(),
            };
            (name.to_owned(), info)
        });
        Fields::from(named)
    }

    fn tied(&self, target: &Target) -> Result<Fields<usize>, AdapterError> {
        let width = self.head_width(target)?;
        let (r, heads) = (self.config.r, self.config.num_heads);
        let at = LortaPlace::of(&target.path);
        let sizes = [
            ("a", r * target.in_features),
            ("b", r * width),
            ("heads", r * heads),
            ("layer", r),
            ("matrix", r),
        ];
        let named = sizes.into_iter();
        Ok(named
            .filter_map(|(field, values)| Some((tie(field, &at)?, values)))
            .collect())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[LAYER, MATRIX]
    }

    fn shared_names(&self) -> &'static [&'static str] {
        &[A, B, HEADS]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let common = Common {
            widest: [target.in_features, target.out_features],
            tensors: &Fields::new(),
        };
        self.restore_among(target, tensors, &common, device)
    }

    fn restore_among(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        common: &Common,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        expect_same_widths(target, common.widest)?;
        let width = self.head_width(target)?;
        let (r, heads) = (self.config.r, self.config.num_heads);
        let options = (device, target.dtype.into());
        let whole = |name: &str, shape: [usize; 2], transpose: bool| {
            let missing = || AdapterError::MissingTensor {
                module: target.path.clone(),
                suffix: name.to_owned(),
                found: common.tensors.keys().cloned().collect(),
            };
            let stored = common.tensors.get(name).ok_or_else(missing)?;
            let key = shared_key(name);
            let stored = stored.expect_shape(&key, &shape)?;
            let data = match transpose {
                true => stored.transposed().to_float(&key, target.dtype)?,
                false => stored.to_float(&key, target.dtype)?,
            };
            Ok::<_, AdapterError>(Tensor::<2>::from_data(data, options))
        };
        let vector = |suffix: &str| {
            let data = target.values(tensors, suffix, &[r])?;
            Ok::<_, AdapterError>(Tensor::<1>::from_data(data, options))
        };
        let parts = Parts {
            a: whole(A, [r, target.in_features], true)?,
            b: whole(B, [width, r], true)?,
            heads: whole(HEADS, [heads, r], false)?,
            layer: vector(LAYER)?,
            matrix: vector(MATRIX)?,
        };
        Ok(self.adapter(target, parts))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut out = Fields::new();
        for (field, suffix) in [("layer", LAYER), ("matrix", MATRIX)] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            out.insert(suffix.to_owned(), tensor);
        }
        Ok(out)
    }
}
