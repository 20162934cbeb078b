use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, GradientWishes, HostTensor, HostTensorExt,
    InitContext, Method, Target,
    format::{Dtype, TensorInfo},
    own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{
    check_density, entries_adapter, entry_cost, fault, gradient, host, normals, random_entries,
    shape_of, share_of, unfit, zeros,
};
use crate::{Support, support};

const VALUES: &str = "shira_weight";
const INDICES: &str = "shira_indices";

/// Batches whose gradients decide, where gradients do.
const GRADIENT_BATCHES: usize = 8;

/// Which entries SHiRA trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ShiraMask {
    /// At random.
    #[default]
    Random,
    /// The largest entries of the pre-trained weight (SHiRA-WM).
    Magnitude,
    /// The entries of largest gradient at the start (SHiRA-Grad).
    Gradient,
    /// The entries of largest product of weight and gradient (SHiRA-SNIP).
    Snip,
}

/// The settings of SHiRA, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ShiraConfig {
    /// Entries of each module, as `r` times the sum of its widths: as many as LoRA of that rank trains.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Entries of each module as a share of all, in place of `r`; 0 for `r`. Files that have it are not
    /// PEFT's.
    #[serde(skip_serializing_if = "is_zero")]
    pub density: f64,
    /// Which entries are trained. PEFT itself makes random ones only, and takes over all.
    pub mask_type: ShiraMask,
    /// Seed of PEFT's random entries, the same for all modules; without it they follow from the run's
    /// seed and the module's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "from the run's seed")))]
    pub random_seed: Option<u64>,
    /// Start at zero; else at standard normal values.
    pub init_weights: bool,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for ShiraConfig {
    fn default() -> Self {
        Self {
            r: 32,
            density: 0.0,
            mask_type: ShiraMask::Random,
            random_seed: None,
            init_weights: true,
        }
    }
}

impl ShiraConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] =
        &["r", "density", "mask_type", "random_seed", "init_weights"];
}

/// SHiRA ([2406.13175](https://arxiv.org/abs/2406.13175)): `ΔW = S`, a fixed set of the weight's
/// entries, chosen before training.
#[derive(Debug, Clone)]
pub struct ShiraMethod {
    config: ShiraConfig,
}

impl ShiraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "shira";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SHIRA";

    /// SHiRA with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: ShiraConfig) -> Result<Self, AdapterError> {
        if config.r == 0 {
            return Err(fault(Self::NAME, "r is 0", "use 1 or more"));
        }
        if config.density != 0.0 {
            check_density(Self::NAME, config.density)?;
        }
        Ok(Self { config })
    }

    /// SHiRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, ShiraConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&ShiraConfig::default())
    }

    /// Entries of a target.
    fn count(&self, target: &Target) -> Result<usize, AdapterError> {
        if self.config.density != 0.0 {
            return Ok(share_of(shape_of(target), self.config.density));
        }
        let [rows, cols] = shape_of(target);
        let count = self.config.r.saturating_mul(rows + cols);
        if count > rows * cols {
            let problem = format!(
                "`{}` has {rows} x {cols} entries, fewer than r = {} times the sum of its widths",
                target.path, self.config.r
            );
            let fix = "use a smaller r, say density, or leave this module out";
            return Err(fault(Self::NAME, problem, fix));
        }
        Ok(count)
    }

    fn choose(
        &self,
        target: &Target,
        start: &InitContext,
        count: usize,
    ) -> Result<Support, AdapterError> {
        let shape = shape_of(target);
        let chosen = match (self.config.mask_type, self.config.random_seed) {
            (ShiraMask::Random, None) => return random_entries(Self::NAME, target, start, count),
            (ShiraMask::Random, Some(seed)) => support::torch_random(shape, count, seed),
            (ShiraMask::Magnitude, _) => {
                let weight = host(start.weight);
                support::strongest(shape, count, |place| weight[place])
            }
            (ShiraMask::Gradient, _) => {
                let gradient = host(gradient(Self::NAME, target, start)?);
                support::strongest(shape, count, |place| gradient[place])
            }
            (ShiraMask::Snip, _) => {
                let gradient = host(gradient(Self::NAME, target, start)?);
                let weight = host(start.weight);
                support::strongest(shape, count, |place| weight[place] * gradient[place])
            }
        };
        chosen.map_err(|error| unfit(Self::NAME, target, &error))
    }
}

impl Method for ShiraMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes::sums(match self.config.mask_type {
            ShiraMask::Random | ShiraMask::Magnitude => 0,
            ShiraMask::Gradient | ShiraMask::Snip => GRADIENT_BATCHES,
        })
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.count(target)?;
        let support = self.choose(target, start, count)?;
        let values = match self.config.init_weights {
            true => zeros(target, count),
            false => normals(target, start.seed, count),
        };
        let device = start.weight.device();
        Ok(entries_adapter(support, values, target, &device))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = self.count(target)?;
        let indices = TensorInfo {
            dtype: Dtype::I32,
            shape: vec![2, count],
        };
        Ok(AdapterSpec {
            cost: entry_cost(target, count),
            keeps_input: 2 * count > target.in_features,
            tensors: Fields::from([
                (VALUES.to_owned(), target.values_info(&[count])),
                (INDICES.to_owned(), indices),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[VALUES, INDICES]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = self.count(target)?;
        let values = target.values(tensors, VALUES, &[count])?;
        let name = target.tensor_name(INDICES);
        let indices = target.stored(tensors, INDICES)?;
        let indices = whole_numbers(&name, indices.expect_shape(&name, &[2, count])?)?;
        let (support, values) = entries_of(target, &name, &indices, values)?;
        Ok(entries_adapter(support, values, target, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let values = target.to_store(&mut fields, "values", VALUES)?;
        let tiles = target.to_store(&mut fields, "tiles", INDICES)?;
        let places = tiles.to_ints(&target.tensor_name(INDICES))?;
        let width = target.in_features as i64;
        let rows = places.iter().map(|place| place / width);
        let cols = places.iter().map(|place| place % width);
        // 32 bits, as PEFT's.
        let indices = HostTensor {
            dtype: Dtype::I32,
            shape: vec![2, places.len()],
            bytes: rows
                .chain(cols)
                .flat_map(|index| (index as i32).to_le_bytes())
                .collect(),
        };
        Ok(Fields::from([
            (VALUES.to_owned(), values),
            (INDICES.to_owned(), indices),
        ]))
    }
}

/// Indices as PEFT writes them: integers, but floating-point numbers on Windows.
fn whole_numbers(name: &str, tensor: &HostTensor) -> Result<Vec<i64>, AdapterError> {
    if !matches!(tensor.dtype, Dtype::F32 | Dtype::F64) {
        return tensor.to_ints(name);
    }
    let numbers = tensor.to_float(name, burn::tensor::FloatDType::F64)?;
    numbers
        .iter::<f64>()
        .map(|number| match number.fract() == 0.0 {
            true => Ok(number as i64),
            false => Err(AdapterError::Places {
                name: name.to_owned(),
                problem: format!("{number} is no whole number"),
            }),
        })
        .collect()
}

/// The support of indices, all rows before all columns, and the values in its order.
fn entries_of(
    target: &Target,
    name: &str,
    indices: &[i64],
    values: TensorData,
) -> Result<(Support, TensorData), AdapterError> {
    let [rows, cols] = shape_of(target);
    let broken = |problem: String| AdapterError::Places {
        name: name.to_owned(),
        problem,
    };
    let (outputs, inputs) = indices.split_at(indices.len() / 2);
    let mut places = Vec::with_capacity(outputs.len());
    for (&row, &col) in outputs.iter().zip(inputs) {
        if !(0..rows as i64).contains(&row) || !(0..cols as i64).contains(&col) {
            return Err(broken(format!(
                "entry ({row}, {col}) lies outside the weight's {rows} x {cols}"
            )));
        }
        places.push(row as u64 * cols as u64 + col as u64);
    }
    let values = match places.is_sorted() {
        true => values,
        // torch takes entries in any order.
        false => {
            let mut order: Vec<usize> = (0..places.len()).collect();
            order.sort_by_key(|&index| places[index]);
            places = order.iter().map(|&index| places[index]).collect();
            let old: Vec<f64> = values.iter::<f64>().collect();
            let new: Vec<f64> = order.iter().map(|&index| old[index]).collect();
            TensorData::new(new, values.shape()).convert_dtype(values.dtype())
        }
    };
    let support = Support::entries([rows, cols], places);
    let support = support.map_err(|error| broken(error.to_string()))?;
    Ok((support, values))
}
