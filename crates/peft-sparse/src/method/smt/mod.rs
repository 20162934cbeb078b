mod settings;

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, GradientWishes,
    HostTensor, HostTensorExt, InitContext, Method, Target, WeightGradients,
    format::{Dtype, TensorInfo},
    own_settings,
    places::strongest,
    settings_json,
};
use serde_json::{Map, Value};

use super::common::{check_density, entries_adapter, fault, host, shape_of, unfit, zeros};
use crate::{Support, support::strongest_tiles};

pub use settings::{SmtConfig, SmtPools, SmtScore, SmtShape};

const VALUES: &str = "smt_weight";
const BLOCKS: &str = "smt_blocks";

/// Sparse Matrix Tuning ([2405.15525](https://arxiv.org/abs/2405.15525)): the blocks of the weights whose
/// gradients are largest, ranked over the whole model.
#[derive(Debug, Clone)]
pub struct SmtMethod {
    config: SmtConfig,
}

/// The largest divisor of a side up to a size.
fn divisor(side: usize, size: usize) -> usize {
    (1..=size.min(side))
        .rev()
        .find(|&one| side.is_multiple_of(one))
        .unwrap_or(1)
}

/// Whether a module belongs to the attention, by its name.
fn is_attention(path: &str) -> bool {
    path.split('.')
        .any(|part| part.contains("attention") || part.contains("attn"))
}

impl SmtMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "smt";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SMT";

    /// SMT with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SmtConfig) -> Result<Self, AdapterError> {
        check_density(Self::NAME, config.density)?;
        if config.block_size == 0 || config.probe_batches == 0 {
            let problem = "block_size or probe_batches is 0";
            return Err(fault(Self::NAME, problem, "use 1 or more"));
        }
        Ok(Self { config })
    }

    /// SMT with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SmtConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&SmtConfig::default())
    }

    /// Sides of the blocks of a target.
    fn tile(&self, target: &Target) -> [usize; 2] {
        let [out, inner] = shape_of(target);
        let size = self.config.block_size;
        match self.config.block_shape {
            SmtShape::Block => [divisor(out, size), divisor(inner, size)],
            SmtShape::Row => [1, inner],
            SmtShape::Column => [out, 1],
        }
    }

    /// Blocks of a target.
    fn blocks(&self, target: &Target) -> usize {
        let ([out, inner], [height, width]) = (shape_of(target), self.tile(target));
        out / height * (inner / width)
    }

    fn share(&self, blocks: usize) -> usize {
        ((self.config.density * blocks as f64).round() as usize).max(1)
    }

    /// The blocks' scores.
    fn scores(
        &self,
        target: &Target,
        sum: Option<&Tensor<2>>,
        magnitude: Option<&Tensor<2>>,
    ) -> Result<Vec<f64>, AdapterError> {
        let gradient = match self.config.score {
            SmtScore::AbsMean => magnitude,
            SmtScore::MeanAbs => sum,
        };
        let gradient = gradient.ok_or_else(|| {
            fault(
                Self::NAME,
                format!("the gradient of `{}` is needed", target.path),
                "give attach the gradients of the weights on a few batches",
            )
        })?;
        let ([_, inner], [height, width]) = (shape_of(target), self.tile(target));
        let across = inner / width;
        let mut scores = vec![0.0; self.blocks(target)];
        for (place, value) in host(gradient).into_iter().enumerate() {
            let (row, col) = (place / inner, place % inner);
            scores[row / height * across + col / width] += value.abs();
        }
        // Blocks of different weights may differ in size.
        let entries = (height * width) as f64;
        scores.iter_mut().for_each(|score| *score /= entries);
        Ok(scores)
    }

    fn pool(&self, target: &Target) -> String {
        match self.config.pools {
            SmtPools::Separate => is_attention(&target.path).to_string(),
            SmtPools::Mixed => String::new(),
            SmtPools::PerMatrix => target.path.clone(),
        }
    }
}

/// For each value in the order of a support, its place block by block.
fn block_order(support: &Support) -> Vec<usize> {
    let [height, width] = support.tile();
    let across = support.shape()[1] / width;
    let place = |[row, col]: [u32; 2]| {
        let (row, col) = (row as usize, col as usize);
        let tile = (row / height * across + col / width) as u32;
        let index = support.tiles().binary_search(&tile);
        let index = index.unwrap_or_else(|_| unreachable!("a place of the support"));
        (index * height + row % height) * width + col % width
    };
    support.places().map(place).collect()
}

impl Method for SmtMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn config_of_adapters(
        &self,
        modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        let counts = modules.iter().filter_map(|(module, fields)| {
            let blocks = fields.get("tiles")?.num_elements();
            Some((module.clone(), Value::from(blocks)))
        });
        Map::from_iter([("block_counts".to_owned(), Value::Object(counts.collect()))])
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes {
            magnitudes: self.config.score == SmtScore::AbsMean,
            ..GradientWishes::sums(self.config.probe_batches)
        }
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::AllLinear
    }

    fn counts_need_gradients(&self) -> bool {
        self.config.pools != SmtPools::PerMatrix
    }

    fn allot(
        &self,
        targets: &[Target],
        gradients: Option<&WeightGradients>,
    ) -> Result<Option<BTreeMap<String, usize>>, AdapterError> {
        let mut pools: BTreeMap<String, Vec<&Target>> = BTreeMap::new();
        for target in targets {
            pools.entry(self.pool(target)).or_default().push(target);
        }
        let mut shares = BTreeMap::new();
        for members in pools.into_values() {
            // Every block's score, and whose it is.
            let (mut scores, mut owners) = (Vec::new(), Vec::new());
            for (index, target) in members.iter().enumerate() {
                let of = |all: fn(&WeightGradients) -> &BTreeMap<String, Tensor<2>>| {
                    gradients.and_then(|gradients| all(gradients).get(&target.path))
                };
                let own = self.scores(target, of(|all| &all.sums), of(|all| &all.magnitudes))?;
                owners.resize(owners.len() + own.len(), index);
                scores.extend(own);
            }
            let count = self.share(scores.len());
            let chosen = strongest([scores.len(), 1], count, |block| scores[block]);
            let chosen = chosen.map_err(|block| {
                let target = members[owners[block as usize]];
                let problem = format!("the gradient of `{}` is not finite", target.path);
                fault(
                    Self::NAME,
                    problem,
                    "look for NaN in the checkpoint and in the data",
                )
            })?;
            for block in chosen {
                let target = members[owners[block as usize]];
                *shares.entry(target.path.clone()).or_insert(0) += 1;
            }
        }
        Ok(Some(shares))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let scores = self.scores(target, start.gradient, start.magnitude)?;
        let count = start.allotted.unwrap_or_else(|| self.share(scores.len()));
        let (shape, tile) = (shape_of(target), self.tile(target));
        let support = strongest_tiles(shape, tile, count, |block| scores[block])
            .map_err(|error| unfit(Self::NAME, target, &error))?;
        let values = zeros(target, support.len());
        let device = start.weight.device();
        Ok(entries_adapter(support, values, target, &device))
    }

    /// Of a weight for itself, unless `block_counts` names it: what the model's budget allots to it
    /// depends on the gradients of all.
    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [height, width] = self.tile(target);
        let known = self.config.block_counts.get(&target.path).copied();
        let count = known.unwrap_or_else(|| self.share(self.blocks(target)));
        let entries = count * height * width;
        let blocks = TensorInfo {
            dtype: Dtype::I32,
            shape: vec![count, 2],
        };
        let inputs = (count * width).min(target.in_features);
        Ok(AdapterSpec {
            cost: Cost {
                parameters: entries,
                flops_per_row: 6 * entries,
                saved_per_row: inputs.min(target.in_features / 2),
            },
            keeps_input: 2 * inputs > target.in_features,
            tensors: Fields::from([
                (
                    VALUES.to_owned(),
                    target.values_info(&[count * height, width]),
                ),
                (BLOCKS.to_owned(), blocks),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[VALUES, BLOCKS]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (shape, tile) = (shape_of(target), self.tile(target));
        let name = target.tensor_name(BLOCKS);
        let blocks = target.stored(tensors, BLOCKS)?;
        // As many as were allotted, which only the file knows.
        let count = blocks.shape.first().copied().unwrap_or(0);
        let blocks = blocks.expect_shape(&name, &[count, 2])?.to_ints(&name)?;
        let values = target.values(tensors, VALUES, &[count * tile[0], tile[1]])?;
        let broken = |problem: String| AdapterError::Places {
            name: name.clone(),
            problem,
        };
        let [down, across] = [shape[0] / tile[0], shape[1] / tile[1]].map(|side| side as i64);
        let number = |block: &[i64]| match (block[0], block[1]) {
            (row, col) if (0..down).contains(&row) && (0..across).contains(&col) => {
                Ok((row * across + col) as u64)
            }
            (row, col) => Err(broken(format!(
                "block ({row}, {col}) lies outside the weight's {down} x {across} blocks"
            ))),
        };
        let numbers: Vec<u64> = blocks.chunks(2).map(number).collect::<Result<_, _>>()?;
        let support = Support::new(shape, tile, numbers);
        let support = support.map_err(|error| broken(error.to_string()))?;
        let stored: Vec<f64> = values.iter::<f64>().collect();
        let values: Vec<f64> = block_order(&support)
            .into_iter()
            .map(|at| stored[at])
            .collect();
        let values = TensorData::new(values, [stored.len()]).convert_dtype(target.dtype.into());
        Ok(entries_adapter(support, values, target, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let (shape, tile) = (shape_of(target), self.tile(target));
        let name = target.tensor_name(BLOCKS);
        let numbers = target
            .to_store(&mut fields, "tiles", BLOCKS)?
            .to_ints(&name)?;
        let support = Support::new(shape, tile, numbers.iter().map(|&number| number as u64));
        let support = support.map_err(|error| AdapterError::Places {
            name,
            problem: error.to_string(),
        })?;
        let mut values = target.to_store(&mut fields, "values", VALUES)?;
        let size = values.bytes.len() / support.len();
        let mut bytes = vec![0; values.bytes.len()];
        for (value, to) in values.bytes.chunks(size).zip(block_order(&support)) {
            bytes[to * size..(to + 1) * size].copy_from_slice(value);
        }
        values.bytes = bytes;
        values.shape = vec![numbers.len() * tile[0], tile[1]];
        let across = (shape[1] / tile[1]) as i64;
        let pairs = numbers
            .iter()
            .flat_map(|number| [number / across, number % across]);
        let blocks = HostTensor {
            dtype: Dtype::I32,
            shape: vec![numbers.len(), 2],
            bytes: pairs
                .flat_map(|index| (index as i32).to_le_bytes())
                .collect(),
        };
        Ok(Fields::from([
            (VALUES.to_owned(), values),
            (BLOCKS.to_owned(), blocks),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_divide_the_weight() {
        for (side, size, wanted) in [(384, 256, 192), (1536, 64, 64), (67, 64, 1), (5, 64, 5)] {
            assert_eq!(divisor(side, size), wanted);
        }
        assert!(is_attention("encoder.layer.0.attention.output.dense"));
        assert!(is_attention("model.layers.3.self_attn.q_proj"));
        assert!(!is_attention("encoder.layer.0.output.dense"));
    }

    #[test]
    fn values_are_stored_block_by_block() {
        let support = Support::new([4, 6], [2, 3], [0, 1, 2]).unwrap();
        let order = block_order(&support);
        // Row 0 is the first row of blocks 0 and 1, row 2 that of block 2.
        assert_eq!(order[..6], [0, 1, 2, 6, 7, 8]);
        assert_eq!(order[12..15], [12, 13, 14]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..18).collect::<Vec<_>>());
    }
}
