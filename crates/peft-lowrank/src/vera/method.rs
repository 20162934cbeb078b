use std::sync::Arc;

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Common, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    format::{Dtype, TensorInfo},
    kernels::key_of,
};
use serde_json::{Map, Value};

use super::{
    adapter::{Vera, cost},
    config::VeraConfig,
    projections::{self, Projections},
};

const LAMBDA_B: &str = "vera_lambda_b";
const LAMBDA_D: &str = "vera_lambda_d";

/// VeRA ([2310.11454](https://arxiv.org/abs/2310.11454)) as a [`Method`], in the files of Hugging Face
/// PEFT: see [`Vera`].
///
/// The projections are a function of `projection_prng_key` and of the widest layers that are adapted, by
/// PyTorch's generator, so that a file without them (`save_projection = false`) means the same here and
/// in PEFT. A target on its own is taken for the widest.
#[derive(Debug, Clone)]
pub struct VeraMethod {
    config: VeraConfig,
}

impl VeraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "vera";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "VERA";

    /// VeRA with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: VeraConfig) -> Result<Self, AdapterError> {
        config.check()?;
        Ok(Self { config })
    }

    /// VeRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(VeraConfig::from_json(map)?)
    }

    /// The settings.
    pub fn settings(&self) -> &VeraConfig {
        &self.config
    }

    fn drawn(&self, widest: [usize; 2]) -> Arc<Projections> {
        Projections::drawn(self.config.projection_prng_key, self.config.r, widest)
    }

    fn adapter(
        &self,
        target: &Target,
        [lambda_b, lambda_d]: [Tensor<1>; 2],
        projections: Arc<Projections>,
    ) -> DynAdapter {
        DynAdapter::new(Vera {
            lambda_b: Param::from_tensor(lambda_b),
            lambda_d: Param::from_tensor(lambda_d),
            in_features: target.in_features,
            projections,
            save_projection: self.config.save_projection,
            dropout: self.config.vera_dropout,
            dropout_key: key_of(0, &target.path, 0),
        })
    }
}

fn widths(target: &Target) -> [usize; 2] {
    [target.in_features, target.out_features]
}

impl Method for VeraMethod {
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
        self.init_among(target, start, widths(target))
    }

    fn init_among(
        &self,
        target: &Target,
        start: &InitContext,
        widest: [usize; 2],
    ) -> Result<DynAdapter, AdapterError> {
        let device = start.weight.device();
        let options = (&device, target.dtype.into());
        let b = Tensor::zeros([target.out_features], options);
        let d = Tensor::full([self.config.r], self.config.d_initial, options);
        Ok(self.adapter(target, [b, d], self.drawn(widest)))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let vector = |length| target.values_info(&[length]);
        Ok(AdapterSpec {
            cost: cost(self.config.r, target.in_features, target.out_features),
            keeps_input: false,
            tensors: Fields::from([
                (LAMBDA_B.to_owned(), vector(target.out_features)),
                (LAMBDA_D.to_owned(), vector(self.config.r)),
            ]),
        })
    }

    fn describe_shared(&self, [inputs, outputs]: [usize; 2]) -> Fields<TensorInfo> {
        if !self.config.save_projection {
            return Fields::new();
        }
        let matrix = |shape: [usize; 2]| TensorInfo {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        let r = self.config.r;
        Fields::from([
            (projections::A.to_owned(), matrix([r, inputs])),
            (projections::B.to_owned(), matrix([outputs, r])),
        ])
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[LAMBDA_B, LAMBDA_D]
    }

    fn shared_names(&self) -> &'static [&'static str] {
        &[projections::A, projections::B]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let common = Common {
            widest: widths(target),
            tensors: &Fields::new(),
        };
        self.restore_among(target, tensors, &common, device)
    }

    /// The projections of the file, where it has them: they need not be those that the key gives.
    fn restore_among(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        common: &Common,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let projections = match self.config.save_projection || !common.tensors.is_empty() {
            true => Projections::stored(common.tensors, self.config.r, widths(target))?,
            false => self.drawn(common.widest),
        };
        let load = |suffix: &str, length: usize| -> Result<Tensor<1>, AdapterError> {
            let data = target.values(tensors, suffix, &[length])?;
            Ok(Tensor::from_data(data, (device, target.dtype.into())))
        };
        let vectors = [
            load(LAMBDA_B, target.out_features)?,
            load(LAMBDA_D, self.config.r)?,
        ];
        Ok(self.adapter(target, vectors, projections))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut out = Fields::new();
        for (field, suffix) in [("lambda_b", LAMBDA_B), ("lambda_d", LAMBDA_D)] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            out.insert(suffix.to_owned(), tensor);
        }
        Ok(out)
    }
}
