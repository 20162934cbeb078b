use std::collections::BTreeMap;

use peft_core::{AdapterError, own_settings, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SdtMethod;

/// What channels and states are chosen by. All but the last look at what a warm-up of every entry of `A_log` did: `Δ` is how
/// far an entry moved in it, `g` the gradient of the loss to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SdtSelector {
    /// `Δ²`, as the paper's released code does.
    #[default]
    Change,
    /// By how much the length of the decays `exp(−δ exp(A_log))` of a channel changed, and the decay of a state, at the step
    /// width `typical_step`: the paper's text.
    Decay,
    /// `|Σ g · Δ|`: the gradients of all steps times the way that was gone.
    GradientChange,
    /// `Σ g²`: the diagonal of the empirical Fisher information.
    Fisher,
    /// `−Σ g · dΔ` along the way: what every entry contributed to the loss's fall, to first order of each step (loss
    /// change allocation, [1909.01440](https://arxiv.org/abs/1909.01440)).
    LossChange,
    /// Drawn by the seed and the path of the block, without a warm-up: the control.
    Random,
}

/// Over what the channels are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SdtBudget {
    /// Every layer has as many.
    #[default]
    Layer,
    /// The model's channels are ranked together; every layer keeps one at least.
    Model,
}

/// The settings of sparse dimension tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SdtConfig {
    /// Share of the channels of which something is trained, at least one.
    pub channels: f64,
    /// Share of the states of such a channel that is trained, at least one.
    pub states: f64,
    /// States of a channel, `N`; of a run, those of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "N")))]
    pub state_size: Option<usize>,
    /// What channels and states are chosen by.
    pub selector: SdtSelector,
    /// Optimiser steps of the warm-up that the choice is made by; the released code sees about 2000 rows.
    pub warm_up_steps: u64,
    /// Over what the channels are shared out.
    pub budget: SdtBudget,
    /// Share of the channels, the least important ones, whose states are given up: `A_log` becomes 10, and nothing is
    /// remembered from one token to the next.
    pub zero_channels: f64,
    /// Step width at which the selector `decay` compares decays: by default the geometric mean of Mamba's initial ones.
    pub typical_step: f64,
    /// Entries of single parameters and channels of single weights, by name: what a budget of the whole model came to, in
    /// the files of trained adapters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "")))]
    pub place_counts: BTreeMap<String, usize>,
}

impl Default for SdtConfig {
    fn default() -> Self {
        Self {
            channels: 0.01,
            states: 0.25,
            state_size: None,
            selector: SdtSelector::Change,
            warm_up_steps: 100,
            budget: SdtBudget::Layer,
            zero_channels: 0.0,
            typical_step: 0.01,
            place_counts: BTreeMap::new(),
        }
    }
}

/// How much of a parameter `[D, N]` is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Channels of which something is trained.
    pub channels: usize,
    /// States of each of them.
    pub states: usize,
    /// Channels that are given up.
    pub zeroed: usize,
}

impl SdtConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "channels",
        "states",
        "state_size",
        "selector",
        "warm_up_steps",
        "budget",
        "zero_channels",
        "typical_step",
        "place_counts",
    ];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// The settings of an `adapter_config.json`, for the method of a name.
    pub(crate) fn from_json(method: &str, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(method, map, Self::KEYS)?;
        config.check(method)?;
        Ok(config)
    }

    pub(super) fn check(&self, method: &str) -> Result<(), AdapterError> {
        let fault = |problem: String, fix: &str| AdapterError::Config {
            method: method.to_owned(),
            problem,
            fix: fix.into(),
        };
        for (key, share) in [("channels", self.channels), ("states", self.states)] {
            if !(share > 0.0 && share <= 1.0) {
                let problem = format!("{key} = {share} is no share");
                return Err(fault(problem, "use a number above 0, and 1 at the most"));
            }
        }
        if !(0.0..=1.0).contains(&self.zero_channels) || self.zero_channels + self.channels > 1.0 {
            let problem = format!(
                "zero_channels = {} and channels = {} are no shares of one whole",
                self.zero_channels, self.channels
            );
            return Err(fault(problem, "let them sum to 1 at the most"));
        }
        if !(self.typical_step.is_finite() && self.typical_step > 0.0) {
            let problem = format!("typical_step = {}", self.typical_step);
            return Err(fault(problem, "use a step width above 0, such as 0.01"));
        }
        if self.selector != SdtSelector::Random && self.warm_up_steps == 0 {
            let problem = "there is nothing to choose by after a warm-up of 0 steps".into();
            return Err(fault(problem, "give warm_up_steps, or choose at random"));
        }
        if self.state_size == Some(0) {
            return Err(fault(
                "state_size is 0".into(),
                "leave it out, or give the model's",
            ));
        }
        Ok(())
    }

    /// Channels, of `width`: what is left of a frozen share that is rounded, as in the released code.
    pub(super) fn channels_of(&self, width: usize) -> usize {
        trained(width, self.channels)
    }

    pub(super) fn counts(&self, width: usize, states: usize) -> Counts {
        let channels = self.channels_of(width);
        let zeroed = (width as f64 * self.zero_channels).round() as usize;
        Counts {
            channels,
            states: trained(states, self.states),
            zeroed: zeroed.min(width - channels),
        }
    }
}

/// `n − round((1 − share) · n)`, at least 1.
fn trained(n: usize, share: f64) -> usize {
    let frozen = ((1.0 - share) * n as f64).round() as usize;
    n.saturating_sub(frozen).clamp(1, n.max(1))
}

impl SdtMethod {
    /// The settings.
    pub fn settings(&self) -> &SdtConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T11: the counts of the released code, for Mamba-130M, 1.4B and 2.8B.
    #[test]
    fn counts_are_those_of_the_released_code() {
        for (width, channels) in [(1536, 15), (4096, 41), (5120, 51)] {
            for (states, wanted) in [(0.25, 4), (0.1, 2), (0.05, 1)] {
                let config = SdtConfig {
                    states,
                    ..SdtConfig::default()
                };
                let counts = config.counts(width, 16);
                assert_eq!((counts.channels, counts.states), (channels, wanted));
                assert_eq!(counts.zeroed, 0);
            }
        }
        let config = SdtConfig {
            zero_channels: 0.5,
            ..SdtConfig::default()
        };
        assert_eq!(config.counts(1, 1).zeroed, 0);
        assert_eq!(config.counts(64, 16).zeroed, 32);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let with = |change: fn(&mut SdtConfig)| {
            let mut config = SdtConfig::default();
            change(&mut config);
            config.check("sdt").unwrap_err().to_string()
        };
        assert!(with(|c| c.channels = 0.0).contains("channels = 0"));
        assert!(with(|c| c.states = f64::NAN).contains("states"));
        assert!(with(|c| c.zero_channels = 0.995).contains("zero_channels"));
        assert!(with(|c| c.warm_up_steps = 0).contains("warm-up"));
        assert!(with(|c| c.typical_step = -1.0).contains("typical_step"));
        assert!(with(|c| c.state_size = Some(0)).contains("state_size"));
    }
}
