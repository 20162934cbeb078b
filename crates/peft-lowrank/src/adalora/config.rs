use indexmap::IndexMap;
use peft_core::{AdapterError, own_settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AdaLoraMethod, Budget};
use crate::config::number;

/// The settings of AdaLoRA, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AdaLoraConfig {
    /// Rank of each weight at the start.
    pub init_r: usize,
    /// Rank that the weights have on average in the end.
    pub target_r: usize,
    /// Numerator of the scale, whose denominator is the rank at the start.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "alpha")))]
    pub lora_alpha: f64,
    /// Dropout of an adapter's input.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub lora_dropout: f64,
    /// Steps before ranks begin to fall.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "N", "x-default" = "a tenth of the steps")))]
    pub tinit: Option<u64>,
    /// Steps with final ranks.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "N", "x-default" = "three tenths of the steps")))]
    pub tfinal: Option<u64>,
    /// Steps from one sharing out of ranks to the next.
    #[serde(rename = "deltaT")]
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "delta-t", "x-value" = "N")))]
    pub delta_t: u64,
    /// Decay of the mean of the sensitivities.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "sensitivity-beta1", "x-value" = "F")))]
    pub beta1: f64,
    /// Decay of the mean of their deviations.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "sensitivity-beta2", "x-value" = "F")))]
    pub beta2: f64,
    /// Weight of the penalty that keeps directions orthogonal.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "F")))]
    pub orth_reg_weight: f64,
    /// Steps that the schedule of the ranks is made for.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "N", "x-default" = "the steps of the run")))]
    pub total_step: Option<u64>,
    /// Which triplets of each weight are kept: what came of an earlier run. With it ranks stay as they
    /// are.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "")))]
    pub rank_pattern: IndexMap<String, Vec<bool>>,
}

impl Default for AdaLoraConfig {
    fn default() -> Self {
        Self {
            init_r: 12,
            target_r: 8,
            lora_alpha: 24.0,
            lora_dropout: 0.0,
            tinit: None,
            tfinal: None,
            delta_t: 10,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.1,
            total_step: None,
            rank_pattern: IndexMap::new(),
        }
    }
}

impl AdaLoraConfig {
    /// Keys of `adapter_config.json` that this configuration understands. PEFT writes `r` as well, and
    /// ignores it.
    pub const KEYS: &'static [&'static str] = &[
        "init_r",
        "target_r",
        "lora_alpha",
        "lora_dropout",
        "tinit",
        "tfinal",
        "deltaT",
        "beta1",
        "beta2",
        "orth_reg_weight",
        "total_step",
        "rank_pattern",
    ];

    /// Read the method's keys out of a configuration; absent keys take PEFT's meaning.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        // A null means what absence means, here as elsewhere.
        map.retain(|_, value| !value.is_null());
        // PEFT's own defaults, where they differ from those that this crate recommends.
        map.entry("lora_alpha").or_insert_with(|| Value::from(8));
        map.entry("deltaT").or_insert_with(|| Value::from(1));
        map.entry("orth_reg_weight")
            .or_insert_with(|| Value::from(0.5));
        let config: Self = own_settings(AdaLoraMethod::NAME, &map, Self::KEYS)?;
        config.validate()?;
        Ok(config)
    }

    /// The fewest keys that reproduce these settings in PEFT, which also wants to know `total_step`.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        set("init_r", self.init_r.into());
        set("target_r", self.target_r.into());
        set("lora_alpha", number(self.lora_alpha));
        set("lora_dropout", number(self.lora_dropout));
        set("deltaT", self.delta_t.into());
        set("beta1", self.beta1.into());
        set("beta2", self.beta2.into());
        set("orth_reg_weight", self.orth_reg_weight.into());
        for (key, steps) in [
            ("tinit", self.tinit),
            ("tfinal", self.tfinal),
            ("total_step", self.total_step),
        ] {
            if let Some(steps) = steps {
                set(key, steps.into());
            }
        }
        if !self.rank_pattern.is_empty() {
            let masks = self.rank_pattern.iter();
            let masks = masks.map(|(name, kept)| (name.clone(), Value::from(kept.clone())));
            set("rank_pattern", Value::Object(masks.collect()));
        }
        map
    }

    /// The schedule of the ranks in a run of so many steps.
    ///
    /// # Errors
    /// If no step is left in which ranks could fall.
    pub fn budget(&self, steps: u64) -> Result<Budget, AdapterError> {
        let total = self.total_step.unwrap_or(steps);
        let start = self.tinit.unwrap_or(total / 10);
        let tail = self.tfinal.unwrap_or(3 * total / 10);
        if start.saturating_add(tail) >= total {
            return Err(fault(
                format!("tinit = {start} and tfinal = {tail} leave none of {total} steps"),
                "lower them, or train for longer",
            ));
        }
        Ok(Budget {
            start,
            end: total - tail,
            total,
            every: self.delta_t,
        })
    }

    fn validate(&self) -> Result<(), AdapterError> {
        if self.init_r == 0 || self.target_r > self.init_r {
            return Err(fault(
                format!(
                    "ranks cannot fall from {} to {}",
                    self.init_r, self.target_r
                ),
                "use a target_r of at most init_r, and an init_r of at least 1",
            ));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let problem = format!("lora_dropout = {} is not in [0, 1)", self.lora_dropout);
            return Err(fault(problem, "use a probability below 1"));
        }
        if !self.lora_alpha.is_finite() {
            return Err(fault("lora_alpha is not finite".into(), "use a number"));
        }
        let open = |beta: f64| beta > 0.0 && beta < 1.0;
        if !open(self.beta1) || !open(self.beta2) {
            let problem = format!("beta1 = {} and beta2 = {}", self.beta1, self.beta2);
            return Err(fault(problem, "use decays between 0 and 1"));
        }
        if !(self.orth_reg_weight.is_finite() && self.orth_reg_weight >= 0.0) {
            let problem = format!("orth_reg_weight = {}", self.orth_reg_weight);
            return Err(fault(problem, "use a weight of 0 or more"));
        }
        if self.delta_t == 0 {
            return Err(fault("deltaT is 0".into(), "use 1 step or more"));
        }
        let other = |kept: &&Vec<bool>| kept.len() != self.init_r;
        if let Some(kept) = self.rank_pattern.values().find(other) {
            let problem = format!(
                "rank_pattern speaks of {} triplets where init_r is {}",
                kept.len(),
                self.init_r
            );
            return Err(fault(problem, "restore the adapter's configuration"));
        }
        if let Some(total) = self.total_step {
            self.budget(total)?;
        }
        Ok(())
    }
}

fn fault(problem: String, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: AdaLoraMethod::NAME.into(),
        problem,
        fix: fix.into(),
    }
}
