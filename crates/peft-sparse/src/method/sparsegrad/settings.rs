//! SparseGrad's settings.

use peft_core::{AdapterError, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::common::{check_density, fault, shape_of, share_of, to_map};

/// Which entries of the window SparseGrad trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SparseGradMask {
    /// All of a window with as many entries as are to be trained.
    #[default]
    LeadingBlock,
    /// Those of largest gradient over the probe's batches, for good.
    TopkFixed,
    /// Those of largest gradient, chosen again every `refresh` steps.
    TopkRefresh,
    /// Those of largest gradient, chosen again in every step: the paper's.
    TopkEachStep,
}

impl SparseGradMask {
    /// Whether the choice changes while training goes on.
    pub fn moves(self) -> bool {
        matches!(self, Self::TopkRefresh | Self::TopkEachStep)
    }
}

/// The settings of SparseGrad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SparseGradConfig {
    /// Share of a weight's entries that a step trains.
    pub density: f64,
    /// Which entries are trained.
    pub mask: SparseGradMask,
    /// Sides of the window from which entries are chosen, relative to those of a window that has just
    /// as many; of no meaning to `leading_block`.
    pub window: f64,
    /// Steps between two choices, for `topk_refresh`.
    pub refresh: usize,
    /// Batches whose gradients the bases are made of.
    pub probe_batches: usize,
    /// One basis for all layers of a type, as the paper; else every layer has its own.
    pub shared_basis: bool,
    /// Reproduce choices of the paper's released code: the whole weight as the window, the basis of the
    /// inputs turned the wrong way, entries chosen by signed gradients in every step, and Adam's
    /// correction by the number of the run's steps.
    pub legacy: bool,
}

impl Default for SparseGradConfig {
    fn default() -> Self {
        Self {
            density: 0.0119,
            mask: SparseGradMask::LeadingBlock,
            window: 2.0,
            refresh: 100,
            probe_batches: 11,
            shared_basis: true,
            legacy: false,
        }
    }
}

impl SparseGradConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "density",
        "mask",
        "window",
        "refresh",
        "probe_batches",
        "shared_basis",
        "legacy",
    ];

    pub(super) fn check(&self, method: &str) -> Result<(), AdapterError> {
        check_density(method, self.density)?;
        if !(1.0..=1e6).contains(&self.window) {
            let problem = format!("window = {} is smaller than what is trained", self.window);
            return Err(fault(method, problem, "use 1 or more"));
        }
        if self.refresh == 0 || self.probe_batches == 0 {
            let problem = "refresh or probe_batches is 0";
            return Err(fault(method, problem, "use 1 or more"));
        }
        if self.legacy && self.mask != SparseGradMask::TopkEachStep {
            let problem = "legacy chooses entries in every step";
            return Err(fault(method, problem, "set mask to topk_each_step with it"));
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Map<String, Value> {
        to_map(self)
    }

    /// Entries that a step trains.
    pub(super) fn count(&self, target: &Target) -> usize {
        match self.mask {
            SparseGradMask::LeadingBlock => {
                let [p, q] = self.sides(target);
                p * q
            }
            _ => share_of(shape_of(target), self.density),
        }
    }

    /// Rows and columns of the window.
    pub(super) fn sides(&self, target: &Target) -> [usize; 2] {
        let [out, inner] = shape_of(target);
        if self.legacy {
            return [out, inner];
        }
        let scale = match self.mask {
            SparseGradMask::LeadingBlock => 1.0,
            _ => self.window * self.window,
        };
        let wanted = (share_of([out, inner], self.density) as f64 * scale).ceil();
        let wanted = wanted.min((out * inner) as f64) as usize;
        // As square as the weight allows.
        let p = (wanted as f64).sqrt().ceil() as usize;
        let p = p.clamp(wanted.div_ceil(inner), out);
        [p, wanted.div_ceil(p).min(inner)]
    }
}
