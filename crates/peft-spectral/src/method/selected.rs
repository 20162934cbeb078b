use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, GradientWishes, HostTensor, HostTensorExt,
    InitContext, Method, Target,
    format::{Dtype, TensorInfo},
    kernels::{key_of, uniform_within},
    own_settings,
};
use serde_json::{Map, Value};

use super::{
    common::{Counts, adapter, coefficients_tensor, described, fault, normals, unfit, zeros},
    settings::{CoefficientInit, SelectedConfig, Selection},
};
use crate::{
    Basis, SpectralParts, Support,
    adapter::support_of,
    gain::rate_scale,
    plan::Extent,
    support::{hierarchical, low_block, low_block_size, product, random, strongest},
    transform::spectrum,
};

/// Which of the methods that choose their coefficients from the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectedKind {
    /// sDCTFT, also called MaCP (2410.09103, 2505.23870): `ΔW = γ · C_outᵀ S C_in` with the orthonormal
    /// DCT-II, its coefficients chosen by energy and at random in bands of the weight's spectrum.
    Sdctft,
    /// SSH (2502.05539): `ΔW = γ · H_outᵀ S H_in` with the orthonormal discrete Hartley transform, its
    /// coefficients chosen by energy and at random; by default in one band, the whole spectrum.
    Ssh,
}

impl SelectedKind {
    /// The name in settings and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sdctft => "sdctft",
            Self::Ssh => "ssh",
        }
    }

    /// `peft_type` in `adapter_config.json`.
    pub const fn peft_type(self) -> &'static str {
        match self {
            Self::Sdctft => "SDCTFT",
            Self::Ssh => "SSH",
        }
    }

    /// The basis of both sides.
    pub const fn basis(self) -> Basis {
        match self {
            Self::Sdctft => Basis::Dct,
            Self::Ssh => Basis::Hartley,
        }
    }

    /// The default settings.
    pub fn defaults(self) -> SelectedConfig {
        match self {
            Self::Sdctft => SelectedConfig::sdctft(),
            Self::Ssh => SelectedConfig::ssh(),
        }
    }

    /// Suffixes of the coefficients and of the places in a file.
    const fn suffixes(self) -> &'static [&'static str; 2] {
        match self {
            Self::Sdctft => &["sdctft_coef", "sdctft_idx"],
            Self::Ssh => &["ssh_coef", "ssh_idx"],
        }
    }
}

/// A method that chooses its coefficients from the weight, or from its gradient.
#[derive(Debug, Clone)]
pub struct SelectedMethod {
    kind: SelectedKind,
    config: SelectedConfig,
    counts: Counts,
}

/// Stream of a target's random places; its coefficients use stream 0.
const PLACES: u64 = 1;

/// Batches whose gradient `select = "grad"` looks at.
const GRADIENT_BATCHES: usize = 8;

impl SelectedMethod {
    /// The method with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(kind: SelectedKind, config: SelectedConfig) -> Result<Self, AdapterError> {
        config.check(kind.name())?;
        let pattern = &config.n_frequency_pattern;
        let counts = Counts::new(
            kind.name(),
            "n_frequency_pattern",
            config.n_frequency,
            pattern,
        )?;
        Ok(Self {
            kind,
            config,
            counts,
        })
    }

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(kind: SelectedKind, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut all = Self::defaults(kind);
        all.extend(map.clone());
        Self::new(kind, own_settings(kind.name(), &all, SelectedConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults(kind: SelectedKind) -> Map<String, Value> {
        kind.defaults().to_json()
    }

    fn adapter(
        &self,
        target: &Target,
        support: Support,
        coefficients: TensorData,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let scale = match self.config.scale_rate {
            true => rate_scale(target.out_features, support.len()),
            false => 1.0,
        };
        let parts = SpectralParts {
            basis: self.kind.basis(),
            shape: [target.out_features, target.in_features],
            support,
            coefficients,
            gamma: self.config.gamma,
            rate: scale / self.config.gamma.abs(),
            evaluation: self.config.evaluation,
        };
        adapter(self.kind.name(), target, parts, device)
    }

    /// The places to train.
    fn select(
        &self,
        target: &Target,
        start: &InitContext,
        count: usize,
    ) -> Result<Support, AdapterError> {
        let (out, inner) = (target.out_features, target.in_features);
        let key = key_of(start.seed, &target.path, PLACES);
        let spectrum_of = |matrix: &Tensor<2>| {
            let values: Vec<f64> = (matrix.clone().transpose().into_data())
                .iter::<f64>()
                .collect();
            spectrum(self.kind.basis(), &values, out, inner)
        };
        let settings = self.config.hierarchical();
        let chosen = match self.config.select {
            Selection::Random => random(out, inner, count, key),
            Selection::LowBlock => low_block(out, inner, count),
            Selection::Energy => strongest(&spectrum_of(start.weight), out, inner, count),
            Selection::Hier => {
                let scores = spectrum_of(start.weight);
                hierarchical(&scores, out, inner, count, &settings, key)
            }
            Selection::Product => {
                let most = [self.config.max_rows, self.config.max_cols];
                let scores = spectrum_of(start.weight);
                product(&scores, out, inner, most, count, &settings, key)
            }
            Selection::Grad => {
                let gradient = start.gradient.ok_or_else(|| {
                    fault(
                        self.kind.name(),
                        format!("select = \"grad\" needs the gradient of `{}`", target.path),
                        "give attach the gradients of the weights on a few batches",
                    )
                })?;
                strongest(&spectrum_of(gradient), out, inner, count)
            }
        };
        chosen.map_err(|error| unfit(self.kind.name(), target, &error))
    }
}

impl Method for SelectedMethod {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn peft_type(&self) -> &'static str {
        self.kind.peft_type()
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes::sums(match self.config.select {
            Selection::Grad => GRADIENT_BATCHES,
            _ => 0,
        })
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [values, places] = *self.kind.suffixes();
        let count = self.counts.coefficients(self.kind.name(), target)?;
        let mut tensors = coefficients_tensor(target, values, &[count]);
        let info = TensorInfo {
            dtype: Dtype::I32,
            shape: vec![2, count],
        };
        tensors.insert(places.to_owned(), info);
        Ok(described(self.kind.basis(), target, count, tensors))
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        let count = self.counts.coefficients(self.kind.name(), target)?;
        let shape = [target.out_features, target.in_features];
        let scattered = Extent::scattered(self.kind.basis(), shape, count);
        let within = |[rows, cols]: [usize; 2]| Extent {
            out_rows: rows.min(scattered.out_rows),
            in_rows: cols.min(scattered.in_rows),
            ..scattered
        };
        let extent = match self.config.select {
            Selection::Product => within([self.config.max_rows, self.config.max_cols]),
            Selection::LowBlock => within(low_block_size(shape, count)),
            Selection::Random | Selection::Energy | Selection::Hier | Selection::Grad => scattered,
        };
        Ok(Some(self.config.evaluation.described(&extent)))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.kind.suffixes()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.coefficients(self.kind.name(), target)?;
        let support = self.select(target, start, count)?;
        let coefficients = match self.config.init {
            CoefficientInit::Zeros => zeros(target, count),
            CoefficientInit::Normal => normals(target, start.seed, count, 1.0),
            CoefficientInit::Uniform => {
                let bound = 1.0 / (count as f32).sqrt();
                let values = uniform_within(key_of(start.seed, &target.path, 0), count, bound);
                TensorData::new(values, [count]).convert_dtype(target.dtype.into())
            }
        };
        self.adapter(target, support, coefficients, &start.weight.device())
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let [values, places] = *self.kind.suffixes();
        let count = self.counts.coefficients(self.kind.name(), target)?;
        let coefficients = target.values(tensors, values, &[count])?;
        let name = target.tensor_name(places);
        let places = target
            .stored(tensors, places)?
            .expect_shape(&name, &[2, count])?
            .to_ints(&name)?;
        let shape = [target.out_features, target.in_features];
        let support = support_of(self.kind.basis(), shape, &places).map_err(|error| {
            let problem = error.to_string();
            AdapterError::Places { name, problem }
        })?;
        self.adapter(target, support, coefficients, device)
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let [values, places] = *self.kind.suffixes();
        if let Some(data) = fields.remove("places") {
            // 32 bits, whatever integers the device computes with.
            fields.insert("places".into(), data.convert::<i32>());
        }
        let mut out = Fields::new();
        for (field, suffix) in [("coefficients", values), ("places", places)] {
            out.insert(
                suffix.to_owned(),
                target.to_store(&mut fields, field, suffix)?,
            );
        }
        Ok(out)
    }
}
