mod grow;
mod settings;

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdamWConfig, AdapterError, AdapterSpec, AdapterStep, AfterStep, DynAdapter, Fields,
    GradientWishes, HostTensor, InitContext, Method, Target, WeightGradients, own_settings,
    settings_json,
};
use rayon::prelude::*;
use serde_json::{Map, Value};

use self::grow::{Seen, exchange};
use super::{
    coded::coded_files,
    common::{fault, host, random_entries, shape_of, share_of, zeros},
};
use crate::{
    SparseDelta,
    adam::{AdamStep, AgedAdam, Clock, floats, whole},
};

pub use settings::{SpielConfig, SpielGrowth};

const TENSORS: [&str; 2] = ["spiel_values", "spiel_indices"];

/// SpIEL ([2401.16405](https://arxiv.org/abs/2401.16405)): entries of the weight that come and go.
///
/// Every few steps the entries of smallest change are given up, and return to the base's values; as many
/// come in. With SpIEL-MA that is where rows and columns of the weight have seen large gradients. What a
/// row and a column have seen is SM3's (1901.11150), over the entries that are trained:
///
/// ```text
/// ν = min(r_row, c_column) + g²      r_row ← max ν      c_column ← max ν      score = r_row · c_column
/// ```
///
/// so that no gradient of another entry is ever needed. With SpIEL-AG it is where the sum of the gradients
/// of a few batches is largest among all entries (the released code: among those that are largest in the
/// first of them); what Adam remembers of the new ones is what those batches would have left it. Steps
/// are Adam's, with an age for each entry.
#[derive(Debug, Clone)]
pub struct SpielMethod {
    config: SpielConfig,
}

impl SpielMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "spiel";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SPIEL";

    /// SpIEL with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SpielConfig) -> Result<Self, AdapterError> {
        config.check(Self::NAME)?;
        Ok(Self { config })
    }

    /// SpIEL with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SpielConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&SpielConfig::default())
    }

    fn count(&self, target: &Target) -> usize {
        share_of(shape_of(target), self.config.density)
    }

    /// Share of the support that is replaced after a step, if any.
    fn replaced(&self, step: u64, total: u64) -> Option<f64> {
        let every = self.config.select_every as u64;
        if !step.is_multiple_of(every) || step >= total {
            return None;
        }
        Some(match step == every {
            true => 1.0,
            false => self.config.replace * (1.0 - step as f64 / total as f64),
        })
    }

    fn accumulates(&self) -> bool {
        self.config.growth == SpielGrowth::AccumulatedGradient
    }

    fn step(&self, adapter: &mut AdapterStep, by: &AdamStep, replaced: Option<f64>) {
        let Some(gradient) = adapter.field("values").gradient() else {
            return;
        };
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let mut held = Held::of(adapter);
        let all = 0..held.values.len();
        held.adam
            .step(&mut held.values, &gradient, all.clone(), all, by);
        if !self.accumulates() {
            let mut seen = Seen::recall(&adapter.memory, held.shape);
            seen.add(&held.places, &gradient);
            if let Some(share) = replaced {
                held.exchange(share, |place| seen.score(place));
            }
            seen.remember(&mut adapter.memory, &held.like);
        }
        held.put(adapter, by.clock);
    }

    /// Move entries to where the sum of the gradients of some batches is largest.
    fn grow(
        &self,
        path: &str,
        adapter: &mut AdapterStep,
        gradients: &WeightGradients,
        now: (AdamStep, f64),
    ) -> Result<(), AdapterError> {
        let of = |all: &BTreeMap<String, Tensor<2>>| {
            let found = all.get(path).map(host);
            let fix = "give the trainer the gradients of all adapted weights";
            found.ok_or_else(|| fault(Self::NAME, format!("no gradient of `{path}`"), fix))
        };
        let (sum, squares) = (of(&gradients.sums)?, of(&gradients.squares)?);
        let mut held = Held::of(adapter);
        let (by, share) = now;
        let fresh = held.exchange(share, |place| sum[place]);
        let count = gradients.batches as f64;
        let AdamWConfig { beta1, beta2, .. } = by.config;
        for slot in fresh {
            let place = held.places[slot];
            // Means over the batches once they are corrected for the number of them.
            held.adam.mean[slot] = sum[place] / count * (1.0 - beta1.powf(count));
            held.adam.square[slot] = squares[place] / count * (1.0 - beta2.powf(count));
            held.adam.age[slot] = gradients.batches as i64;
        }
        held.put(adapter, by.clock);
        Ok(())
    }
}

/// What an adapter holds, on the host.
struct Held {
    like: Tensor<1>,
    shape: [usize; 2],
    values: Vec<f64>,
    places: Vec<usize>,
    adam: AgedAdam,
    moved: bool,
}

impl Held {
    fn of(adapter: &AdapterStep) -> Self {
        let like = adapter.field("values").value().float();
        let values: Vec<f64> = like.clone().into_data().iter::<f64>().collect();
        let whole = |name: &str| -> Vec<usize> {
            let data = adapter.field(name).value().int().into_data();
            data.iter::<i64>().map(|number| number as usize).collect()
        };
        let sides = whole("shape");
        Self {
            shape: [sides[0], sides[1]],
            places: whole("tiles"),
            adam: AgedAdam::recall(&adapter.memory).unwrap_or_else(|| AgedAdam::new(values.len())),
            values,
            like,
            moved: false,
        }
    }

    /// Replace a share of the entries by those of highest score; gives where the new ones are.
    fn exchange(&mut self, share: f64, score: impl Fn(usize) -> f64) -> Vec<usize> {
        let count = (share * self.places.len() as f64).round() as usize;
        let entries = self.shape[0] * self.shape[1];
        let (places, from): (Vec<usize>, Vec<Option<usize>>) =
            exchange(&self.places, &self.values, count, entries, score)
                .into_iter()
                .unzip();
        let value = |old: &Option<usize>| old.map_or(0.0, |at| self.values[at]);
        self.values = from.iter().map(value).collect();
        self.adam = self.adam.gathered(&from);
        self.places = places;
        self.moved = true;
        (0..from.len()).filter(|&at| from[at].is_none()).collect()
    }

    fn put(self, adapter: &mut AdapterStep, clock: Clock) {
        self.adam.remember(&mut adapter.memory, &self.like, clock);
        if self.moved {
            let tiles: Vec<i64> = self.places.iter().map(|&place| place as i64).collect();
            adapter.field_mut("tiles").set(whole(&tiles, &self.like));
        }
        adapter
            .field_mut("values")
            .set(floats(&self.values, &self.like));
    }
}

impl Method for SpielMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.count(target);
        let support = random_entries(Self::NAME, target, start, count)?;
        let device = start.weight.device();
        let adapter = SparseDelta::new(support, zeros(target, count), target.dtype, &device);
        Ok(DynAdapter::new(adapter.moving()))
    }

    coded_files!(TENSORS, SparseDelta::moving);

    fn learning_rate_factor(&self, field: &str, _: u64, _: u64) -> f64 {
        // The method takes the steps.
        match field {
            "values" => 0.0,
            _ => 1.0,
        }
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        true
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        let (by, replaced) = (AdamStep::of(now), self.replaced(now.step, now.total));
        (now.adapters.par_iter_mut()).for_each(|(_, adapter)| self.step(adapter, &by, replaced));
        Ok(())
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes {
            squares: self.accumulates(),
            ..GradientWishes::default()
        }
    }

    fn looks_after(&self, step: u64, total: u64) -> usize {
        match self.accumulates() && self.replaced(step, total).is_some() {
            true => self.config.select_batches,
            false => 0,
        }
    }

    fn look(&self, now: &mut AfterStep, gradients: &WeightGradients) -> Result<(), AdapterError> {
        let Some(share) = self.replaced(now.step, now.total) else {
            return Ok(());
        };
        let by = AdamStep::of(now);
        (now.adapters.par_iter_mut())
            .try_for_each(|(path, adapter)| self.grow(path, adapter, gradients, (by, share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_takes_all_and_the_last_is_small() {
        let method = SpielMethod::new(SpielConfig::default()).unwrap();
        assert_eq!(method.replaced(19, 100), None);
        assert_eq!(method.replaced(20, 100), Some(1.0));
        assert!((method.replaced(80, 100).unwrap() - 0.04).abs() < 1e-12);
        assert_eq!(method.replaced(100, 100), None);
    }
}
