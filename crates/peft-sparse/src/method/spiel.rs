use std::collections::BTreeSet;

use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, AdapterStep, AfterStep, DynAdapter, Fields, HostTensor, InitContext,
    Method, Target, Values, own_settings,
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{
    check_density, coded_adapter, coded_spec, coded_tensors, fault, random_entries, shape_of,
    share_of, to_map, zeros,
};
use crate::{
    SparseDelta,
    adam::{AgedAdam, Clock, floats, whole},
    support::largest,
};

const TENSORS: [&str; 2] = ["spiel_values", "spiel_indices"];

/// The settings of SpIEL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpielConfig {
    /// Share of a weight's entries that is trained.
    pub density: f64,
    /// Steps between two changes of the support.
    pub select_every: usize,
    /// Share of the support that the first change but one replaces; it falls to nothing with the run.
    /// The first change replaces all.
    pub replace: f64,
}

impl Default for SpielConfig {
    fn default() -> Self {
        Self {
            density: 0.01,
            select_every: 20,
            replace: 0.2,
        }
    }
}

impl SpielConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["density", "select_every", "replace"];
}

/// SpIEL-MA ([2401.16405](https://arxiv.org/abs/2401.16405)): entries of the weight that come and go.
///
/// Every few steps the entries of smallest change are given up, and return to the base's values; as many
/// come in where rows and columns of the weight have seen large gradients. What a row and a column have
/// seen is SM3's (1901.11150), over the entries that are trained:
///
/// ```text
/// ν = min(r_row, c_column) + g²      r_row ← max ν      c_column ← max ν      score = r_row · c_column
/// ```
///
/// so that no gradient of another entry is ever needed. Steps are Adam's, with an age for each entry. The
/// paper's other variant, SpIEL-AG, looks at the gradients of all entries.
#[derive(Debug, Clone)]
pub struct SpielMethod {
    config: SpielConfig,
}

impl SpielMethod {
    const NAME: &'static str = "spiel";

    /// SpIEL with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SpielConfig) -> Result<Self, AdapterError> {
        check_density(Self::NAME, config.density)?;
        if config.select_every == 0 {
            let problem = "select_every is 0";
            return Err(fault(Self::NAME, problem, "use 1 or more"));
        }
        if !(0.0..=1.0).contains(&config.replace) {
            let problem = format!("replace = {} is no share", config.replace);
            return Err(fault(Self::NAME, problem, "use 0 to 1"));
        }
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
        to_map(&SpielConfig::default())
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

    fn step(&self, adapter: &mut AdapterStep, rate: f64, replaced: Option<f64>) {
        let field = adapter.field("values");
        let Some(gradient) = field.gradient() else {
            return;
        };
        let like = field.value().float();
        let mut values: Vec<f64> = like.clone().into_data().iter::<f64>().collect();
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let tiles = adapter.field("tiles").value().int();
        let mut places: Vec<usize> = tiles
            .into_data()
            .iter::<i64>()
            .map(|p| p as usize)
            .collect();
        let known = AgedAdam::recall(&adapter.memory);
        let mut adam = known.unwrap_or_else(|| AgedAdam::new(values.len()));
        let all = 0..values.len();
        adam.step(&mut values, &gradient, all.clone(), all, rate, Clock::Age);

        let sides = adapter.field("shape").value().int().into_data();
        let sides: Vec<usize> = sides.iter::<i64>().map(|side| side as usize).collect();
        let mut seen = Seen::recall(&adapter.memory, [sides[0], sides[1]]);
        seen.add(&places, &gradient);
        if let Some(share) = replaced {
            let count = (share * places.len() as f64).round() as usize;
            let from = seen.exchange(&places, &values, count);
            values = from
                .iter()
                .map(|(_, old)| old.map_or(0.0, |at| values[at]))
                .collect();
            adam = adam.gathered(&from.iter().map(|(_, old)| *old).collect::<Vec<_>>());
            places = from.into_iter().map(|(place, _)| place).collect();
            let tiles: Vec<i64> = places.iter().map(|&place| place as i64).collect();
            adapter.field_mut("tiles").set(whole(&tiles, &like));
        }
        let memory = &mut adapter.memory;
        seen.remember(memory, &like);
        adam.remember(memory, &like);
        adapter.field_mut("values").set(floats(&values, &like));
    }
}

/// What rows and columns of a weight have seen of gradients.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    rows: Vec<f64>,
    cols: Vec<f64>,
}

impl Seen {
    fn recall(memory: &Fields<Values>, [rows, cols]: [usize; 2]) -> Self {
        let known = |name: &str, count: usize| match memory.get(name) {
            Some(values) => values.float().into_data().iter::<f64>().collect(),
            None => vec![0.0; count],
        };
        Self {
            rows: known("rows", rows),
            cols: known("cols", cols),
        }
    }

    fn remember(&self, memory: &mut Fields<Values>, like: &burn::Tensor<1>) {
        memory.insert("rows".into(), floats(&self.rows, like));
        memory.insert("cols".into(), floats(&self.cols, like));
    }

    /// Take in the gradients of some places.
    fn add(&mut self, places: &[usize], gradient: &[f64]) {
        let width = self.cols.len();
        let (mut rows, mut cols) = (vec![0.0_f64; self.rows.len()], vec![0.0_f64; width]);
        for (&place, g) in places.iter().zip(gradient) {
            let (row, col) = (place / width, place % width);
            let value = self.rows[row].min(self.cols[col]) + g * g;
            rows[row] = rows[row].max(value);
            cols[col] = cols[col].max(value);
        }
        // A row without a place has seen nothing new.
        let keep = |old: &mut Vec<f64>, new: Vec<f64>| {
            for (old, new) in old.iter_mut().zip(new) {
                *old = old.max(new);
            }
        };
        keep(&mut self.rows, rows);
        keep(&mut self.cols, cols);
    }

    /// Give up the `count` places of smallest values, the first of equals last, and take as many of the
    /// highest scores among all others, the first of equals first. Gives the places, rising, each with
    /// where it was before.
    fn exchange(
        &self,
        places: &[usize],
        values: &[f64],
        count: usize,
    ) -> Vec<(usize, Option<usize>)> {
        let kept = largest(values, places.len() - count.min(places.len()));
        let staying: BTreeSet<usize> = kept.iter().map(|&at| places[at]).collect();
        let width = self.cols.len();
        let free: Vec<usize> = (0..self.rows.len() * width)
            .filter(|place| !staying.contains(place))
            .collect();
        let scores: Vec<f64> = free
            .iter()
            .map(|place| self.rows[place / width] * self.cols[place % width])
            .collect();
        let grown = largest(&scores, places.len() - kept.len());
        let mut all: Vec<(usize, Option<usize>)> = kept
            .into_iter()
            .map(|at| (places[at], Some(at)))
            .chain(grown.into_iter().map(|at| (free[at], None)))
            .collect();
        all.sort_unstable();
        all
    }
}

impl Method for SpielMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        "SPIEL"
    }

    fn config(&self) -> Map<String, Value> {
        to_map(&self.config)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.count(target);
        let support = random_entries(Self::NAME, target, start, count)?;
        let device = start.weight.device();
        let adapter = SparseDelta::new(support, zeros(target, count), target.dtype, &device);
        Ok(DynAdapter::new(adapter.moving()))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        Ok(coded_spec(target, TENSORS, self.count(target)))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = self.count(target);
        let adapter = coded_adapter(target, tensors, TENSORS, count, device)?;
        Ok(DynAdapter::new(adapter.moving()))
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        coded_tensors(target, fields, TENSORS)
    }

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
        let (rate, replaced) = (now.learning_rate, self.replaced(now.step, now.total));
        (now.adapters.par_iter_mut()).for_each(|(_, adapter)| self.step(adapter, rate, replaced));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_where_rows_and_columns_saw_much() {
        let mut seen = Seen::recall(&Fields::new(), [3, 4]);
        // Places (0, 1), (1, 2), (2, 1) of a weight 3 x 4.
        let places = [1, 6, 9];
        seen.add(&places, &[2.0, 0.1, 1.0]);
        assert_eq!(seen.rows, [4.0, 0.1 * 0.1, 1.0]);
        assert_eq!(seen.cols, [0.0, 4.0, 0.1 * 0.1, 0.0]);
        // The second is the smallest; of what is free (1, 1) scores highest: 0.01 · 4 over 0.01 · 4 of
        // (0, 2), which comes before it.
        let moved = seen.exchange(&places, &[1.0, 0.2, -0.5], 1);
        assert_eq!(moved, [(1, Some(0)), (2, None), (9, Some(2))]);
        let all = seen.exchange(&places, &[1.0, 0.2, -0.5], 3);
        assert_eq!(all, [(1, None), (2, None), (9, None)]);
        assert_eq!(seen.exchange(&places, &[1.0, 0.2, -0.5], 0).len(), 3);
    }

    #[test]
    fn the_first_change_takes_all_and_the_last_is_small() {
        let method = SpielMethod::new(SpielConfig::default()).unwrap();
        assert_eq!(method.replaced(19, 100), None);
        assert_eq!(method.replaced(20, 100), Some(1.0));
        assert!((method.replaced(80, 100).unwrap() - 0.04).abs() < 1e-12);
        assert_eq!(method.replaced(100, 100), None);
    }
}
