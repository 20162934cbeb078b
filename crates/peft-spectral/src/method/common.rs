//! What the methods' files have in common.

use burn::tensor::{Device, TensorData};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, Cost, DynAdapter, Fields, Target,
    format::{TensorInfo, targets::PatternMap},
    kernels::{key_of, normal},
};

use crate::{Basis, Spectral, SpectralError, SpectralParts};

pub fn fault(method: &str, problem: impl ToString, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: method.into(),
        problem: problem.to_string(),
        fix: fix.into(),
    }
}

/// The fault of a target that the settings do not fit.
pub fn unfit(method: &str, target: &Target, error: &SpectralError) -> AdapterError {
    let fix = "change the setting, or leave this module out";
    fault(method, format!("`{}`: {error}", target.path), fix)
}

/// What is known of an adapter of `count` coefficients before their places are.
pub fn described(
    basis: Basis,
    target: &Target,
    count: usize,
    tensors: Fields<TensorInfo>,
) -> AdapterSpec {
    let (inner, out) = (target.in_features, target.out_features);
    let transforms = basis.transform_flops(inner) + basis.transform_flops(out);
    AdapterSpec {
        cost: Cost {
            parameters: count,
            flops_per_row: 2 * transforms as usize + 6 * count,
            // Every coefficient in a column of its own, or two: cosines and sines.
            saved_per_row: 2 * count.min(inner),
        },
        keeps_input: false,
        tensors,
    }
}

/// The one tensor of coefficients.
pub fn coefficients_tensor(target: &Target, suffix: &str, shape: &[usize]) -> Fields<TensorInfo> {
    Fields::from([(suffix.to_owned(), target.values_info(shape))])
}

/// Numbers of single modules, by name or regular expression; none may be 0.
#[derive(Debug, Clone)]
pub struct Counts {
    usual: usize,
    pattern: PatternMap<usize>,
}

impl Counts {
    pub fn new(
        method: &str,
        // Name of the pattern's setting.
        key: &'static str,
        usual: usize,
        pattern: &IndexMap<String, usize>,
    ) -> Result<Self, AdapterError> {
        if usual == 0 || pattern.values().any(|count| *count == 0) {
            let setting = key.trim_end_matches("_pattern");
            let problem = format!("{setting} is 0, of all modules or by {key}");
            return Err(fault(method, problem, "use 1 or more"));
        }
        let entries = pattern.iter().map(|(key, count)| (key.clone(), *count));
        Ok(Self {
            usual,
            pattern: PatternMap::new(key, entries)?,
        })
    }

    pub fn of(&self, target: &Target) -> Result<usize, AdapterError> {
        Ok(self
            .pattern
            .get(&target.path)?
            .copied()
            .unwrap_or(self.usual))
    }

    /// The number of coefficients at a target.
    ///
    /// # Errors
    /// If it is more than the entries of the weight.
    pub fn coefficients(&self, method: &str, target: &Target) -> Result<usize, AdapterError> {
        let count = self.of(target)?;
        let (rows, cols) = (target.out_features, target.in_features);
        if count as u128 > rows as u128 * cols as u128 {
            let error = SpectralError::Count { count, rows, cols };
            return Err(unfit(method, target, &error));
        }
        Ok(count)
    }
}

/// For fields that files leave out where they say nothing.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `count` normal values times `deviation`, a function of seed and path.
pub fn normals(target: &Target, seed: u64, count: usize, deviation: f32) -> TensorData {
    let values: Vec<f32> = normal(key_of(seed, &target.path, 0), count)
        .iter()
        .map(|value| value * deviation)
        .collect();
    TensorData::new(values, [count]).convert_dtype(target.dtype.into())
}

/// Coefficients that start at nothing.
pub fn zeros(target: &Target, count: usize) -> TensorData {
    TensorData::zeros::<f32, _>([count]).convert_dtype(target.dtype.into())
}

/// The adapter of checked parts.
pub fn adapter(
    method: &str,
    target: &Target,
    parts: SpectralParts,
    device: &Device,
) -> Result<DynAdapter, AdapterError> {
    match Spectral::new(parts, target.dtype, device) {
        Ok(adapter) => Ok(DynAdapter::new(adapter)),
        Err(error) => Err(unfit(method, target, &error)),
    }
}

/// Require a finite factor other than 0.
pub fn check_factor(method: &str, key: &str, factor: f64) -> Result<(), AdapterError> {
    if factor.is_finite() && factor != 0.0 {
        return Ok(());
    }
    let problem = format!("{key} = {factor} would leave the adapter without effect");
    Err(fault(method, problem, "use a finite number other than 0"))
}
