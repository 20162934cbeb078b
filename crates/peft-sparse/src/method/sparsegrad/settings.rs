//! SparseGrad's settings.

use peft_core::{AdapterError, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::common::{check_density, fault, share_of};

/// Which entries of the window SparseGrad trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SparseGradMask {
    /// All of a window with as many entries as are to be trained.
    #[default]
    LeadingBlock,
    /// The entries of largest gradient over the probe's batches, for good.
    TopkFixed,
    /// The entries of largest gradient, chosen again every `refresh` steps.
    TopkRefresh,
    /// The entries of largest gradient, chosen again in every step: the paper's.
    TopkEachStep,
}

impl SparseGradMask {
    /// Whether the choice changes while training goes on.
    pub fn moves(self) -> bool {
        matches!(self, Self::TopkRefresh | Self::TopkEachStep)
    }
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// The settings of SparseGrad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Times that the bases are made anew, at equal distances in the run; what was trained in the old
    /// ones stays as an offset of the adapter.
    #[serde(skip_serializing_if = "is_zero")]
    pub basis_refreshes: usize,
    /// One basis for all layers of a type, as the paper; else every layer has its own.
    pub shared_basis: bool,
    /// Reproduce choices of the paper's released code: the whole weight as the window, the basis of the
    /// inputs rotated the wrong way, entries chosen by signed gradients in every step, and Adam's
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
            basis_refreshes: 0,
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
        "basis_refreshes",
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
        if self.basis_refreshes > 64 {
            let problem = format!(
                "basis_refreshes = {} needs as many bases",
                self.basis_refreshes
            );
            return Err(fault(method, problem, "use 64 or fewer"));
        }
        if self.legacy && self.basis_refreshes > 0 {
            let problem = "legacy keeps its bases";
            return Err(fault(method, problem, "leave basis_refreshes at 0 with it"));
        }
        if self.legacy && self.mask != SparseGradMask::TopkEachStep {
            let problem = "legacy chooses entries in every step";
            return Err(fault(method, problem, "set mask to topk_each_step with it"));
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// Entries of a weight `[out, in]` that a step trains.
    pub(super) fn count(&self, shape: [usize; 2]) -> usize {
        match self.mask {
            SparseGradMask::LeadingBlock => self.sides(shape).iter().product(),
            _ => share_of(shape, self.density),
        }
    }

    /// Bases of an adapter, those before a refresh included.
    pub(super) fn bases(&self) -> usize {
        1 + self.basis_refreshes
    }

    /// Whether the bases are made anew after a step.
    pub(super) fn refreshes_after(&self, step: u64, total: u64) -> bool {
        // Of equal parts of the run, the ends of all but the last.
        let (parts, step, total) = (self.bases() as u128, u128::from(step), u128::from(total));
        step < total && step * parts / total > (step.saturating_sub(1)) * parts / total
    }

    /// Rows and columns of the window.
    pub(super) fn sides(&self, shape @ [out, inner]: [usize; 2]) -> [usize; 2] {
        if self.legacy {
            return shape;
        }
        let scale = match self.mask {
            SparseGradMask::LeadingBlock => 1.0,
            _ => self.window * self.window,
        };
        let wanted = (share_of(shape, self.density) as f64 * scale).ceil();
        let wanted = wanted.min((out * inner) as f64) as usize;
        // As square as the weight allows.
        let p = (wanted as f64).sqrt().ceil() as usize;
        let p = p.clamp(wanted.div_ceil(inner), out);
        [p, wanted.div_ceil(p).min(inner)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_made_anew_at_equal_distances() {
        let at = |count, total| -> Vec<u64> {
            let config = SparseGradConfig {
                basis_refreshes: count,
                ..SparseGradConfig::default()
            };
            let due = |step: &u64| config.refreshes_after(*step, total);
            (0..=total).filter(due).collect()
        };
        assert_eq!(at(0, 100), [0; 0]);
        assert_eq!(at(1, 100), [50]);
        assert_eq!(at(2, 40), [14, 27]);
        assert_eq!(at(3, 10), [3, 5, 8]);
        // Never more than there is room for, and never after the last step.
        assert_eq!(at(3, 2), [1]);
        assert_eq!(at(9, 1), [0; 0]);
        for (count, total) in [(5, 6), (7, 64), (64, 1000)] {
            assert_eq!(at(count, total).len(), count);
        }
    }

    #[test]
    fn the_reproduction_of_released_code_keeps_its_bases() {
        let legacy = SparseGradConfig {
            mask: SparseGradMask::TopkEachStep,
            legacy: true,
            ..SparseGradConfig::default()
        };
        assert!(legacy.check("sparsegrad").is_ok());
        let refreshed = SparseGradConfig {
            basis_refreshes: 1,
            ..legacy
        };
        assert!(refreshed.check("sparsegrad").is_err());
    }
}
