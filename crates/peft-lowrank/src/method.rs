use burn::{
    Tensor,
    module::Param,
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    format::{Dtype, TensorInfo, targets::PatternMap},
    kernels::{key_of, normal, uniform},
};
use serde_json::{Map, Value};

use crate::{Dora, Lora, LoraConfig, LoraInit, dora, lora, lora::LowRank};

const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";
const MAGNITUDE: &str = "lora_magnitude_vector";

/// LoRA as a [`Method`]; with `use_dora`, DoRA.
#[derive(Debug, Clone)]
pub struct LoraMethod {
    config: LoraConfig,
    init: LoraInit,
    ranks: PatternMap<usize>,
    alphas: PatternMap<f64>,
}

impl LoraMethod {
    /// LoRA with these settings.
    ///
    /// # Errors
    /// If the initialisation is one that is not known, or a pattern is no regular expression.
    pub fn new(config: LoraConfig) -> Result<Self, AdapterError> {
        let init = config.init()?;
        let ranks = config
            .rank_pattern
            .iter()
            .map(|(key, rank)| (key.clone(), *rank));
        let ranks = PatternMap::new("rank_pattern", ranks)?;
        let alphas = config
            .alpha_pattern
            .iter()
            .map(|(key, alpha)| (key.clone(), *alpha));
        let alphas = PatternMap::new("alpha_pattern", alphas)?;
        Ok(Self {
            config,
            init,
            ranks,
            alphas,
        })
    }

    /// LoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(LoraConfig::from_json(map)?)
    }

    /// DoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense, or `use_dora` is false.
    pub fn dora(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        if map.entry("use_dora").or_insert(Value::Bool(true)) == &Value::Bool(false) {
            return Err(AdapterError::Config {
                method: "dora".into(),
                problem: "use_dora is false".into(),
                fix: "leave it out, or choose the method lora".into(),
            });
        }
        Self::from_json(&map)
    }

    /// The settings.
    pub fn settings(&self) -> &LoraConfig {
        &self.config
    }

    /// The rank of a module.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn rank_of(&self, module: &str) -> Result<usize, AdapterError> {
        Ok(self.ranks.get(module)?.copied().unwrap_or(self.config.r))
    }

    /// The factor `s` of a module: `α / r`, or `α / √r` when rank stabilised.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn scale_of(&self, module: &str) -> Result<f64, AdapterError> {
        let rank = self.rank_of(module)? as f64;
        let alpha = self
            .alphas
            .get(module)?
            .copied()
            .unwrap_or(self.config.lora_alpha);
        Ok(alpha
            / if self.config.use_rslora {
                rank.sqrt()
            } else {
                rank
            })
    }

    /// The adapter of such factors, for which DoRA needs lengths, too.
    fn adapter(
        &self,
        target: &Target,
        [a, b]: [Tensor<2>; 2],
        magnitude: Option<Tensor<1>>,
    ) -> Result<DynAdapter, AdapterError> {
        let (a, b) = (Param::from_tensor(a), Param::from_tensor(b));
        let rules = LowRank {
            scale: self.scale_of(&target.path)?,
            dropout: self.config.lora_dropout,
            place: key_of(0, &target.path, 0),
            rate_of_b: self.config.loraplus_lr_ratio,
        };
        Ok(match magnitude {
            None => DynAdapter::new(Lora { a, b, rules }),
            Some(magnitude) => DynAdapter::new(Dora {
                a,
                b,
                magnitude: Param::from_tensor(magnitude),
                rules,
                detach_norm: self.config.dora_detach_norm,
            }),
        })
    }
}

impl Method for LoraMethod {
    fn name(&self) -> &'static str {
        if self.config.use_dora { "dora" } else { "lora" }
    }

    fn peft_type(&self) -> &'static str {
        "LORA"
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let key = key_of(start.seed, &target.path, 0);
        let a: Vec<f32> = match self.init {
            LoraInit::Kaiming => {
                let bound = 1.0 / (inputs as f32).sqrt();
                uniform(key, inputs * rank)
                    .iter()
                    .map(|u| (2.0 * u - 1.0) * bound)
                    .collect()
            }
            LoraInit::Gaussian => normal(key, inputs * rank)
                .iter()
                .map(|z| z / rank as f32)
                .collect(),
        };
        let options = (&start.weight.device(), target.dtype.into());
        let a = Tensor::from_data(TensorData::new(a, [inputs, rank]), options);
        let b = Tensor::zeros([rank, outputs], options);
        let dora = self.config.use_dora;
        // Norms are taken without autodiff; on the weight's device they are trained.
        let lengths = || dora::column_norms(start.weight, target.dtype).into_data();
        let magnitude = dora.then(|| Tensor::from_data(lengths(), options));
        self.adapter(target, [a, b], magnitude)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let dropout = self.config.lora_dropout;
        let dtype = stored_dtype(target);
        let tensor = |shape: &[usize]| TensorInfo {
            dtype,
            shape: shape.to_vec(),
        };
        let mut tensors = Fields::from([
            (A.to_owned(), tensor(&[rank, inputs])),
            (B.to_owned(), tensor(&[outputs, rank])),
        ]);
        let mut cost = lora::cost(rank, dropout, inputs, outputs);
        if self.config.use_dora {
            tensors.insert(MAGNITUDE.to_owned(), tensor(&[outputs]));
            cost = dora::cost(rank, dropout, inputs, outputs);
        }
        Ok(AdapterSpec {
            cost,
            // With dropout, what was left of the input is kept in its place.
            keeps_input: dropout == 0.0,
            tensors,
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        if self.config.use_dora {
            &[A, B, MAGNITUDE]
        } else {
            &[A, B]
        }
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let load = |suffix: &str, shape: &[usize]| -> Result<TensorData, AdapterError> {
            let tensor = target.stored(tensors, suffix)?;
            let name = target.tensor_name(suffix);
            let data = tensor.expect_shape(&name, shape)?.transposed();
            data.to_float(&name, target.dtype)
        };
        let options = (device, target.dtype.into());
        let (inputs, outputs) = (target.in_features, target.out_features);
        let a = Tensor::from_data(load(A, &[rank, inputs])?, options);
        let b = Tensor::from_data(load(B, &[outputs, rank])?, options);
        let magnitude = match self.config.use_dora {
            true => Some(Tensor::from_data(load(MAGNITUDE, &[outputs])?, options)),
            false => None,
        };
        self.adapter(target, [a, b], magnitude)
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut out = Fields::new();
        for (field, suffix) in [("a", A), ("b", B)] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            out.insert(suffix.to_owned(), tensor.transposed());
        }
        if self.config.use_dora {
            let tensor = target.to_store(&mut fields, "magnitude", MAGNITUDE)?;
            out.insert(MAGNITUDE.to_owned(), tensor);
        }
        Ok(out)
    }
}

/// The element type of a target's tensors in a file.
pub(crate) fn stored_dtype(target: &Target) -> Dtype {
    match target.dtype {
        FloatDType::F64 => Dtype::F64,
        _ => Dtype::F32,
    }
}
