//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// The shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Falls in a line to zero.
    #[default]
    Linear,
    /// Falls along half a cosine to zero.
    Cosine,
    /// Stays.
    Constant,
}

/// A factor on the learning rate for every optimiser step.
///
/// During the `w` steps of warm-up the factor of step `k` (from 0) is `k / w`; afterwards it is
/// `(n − k) / (n − w)` (linear), `(1 + cos(π (k − w) / (n − w))) / 2` (cosine) or 1 (constant), as
/// in Hugging Face's schedulers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    kind: ScheduleKind,
    warmup: u64,
    total: u64,
}

impl Schedule {
    /// A schedule over `total` steps; `warmup` below 1 is a share of them, but never all, else a
    /// number of steps.
    pub fn new(kind: ScheduleKind, warmup: f64, total: u64) -> Self {
        let steps = if warmup < 1.0 {
            // Rounding up must not make a run of one step one of rate 0.
            (warmup * total as f64).ceil().min(total as f64 - 1.0)
        } else {
            warmup
        };
        Self {
            kind,
            warmup: (steps as u64).min(total),
            total,
        }
    }

    /// Steps in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The factor of step `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        match self.kind {
            ScheduleKind::Linear => 1.0 - done,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            ScheduleKind::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_falls_to_zero() {
        for kind in [ScheduleKind::Linear, ScheduleKind::Cosine] {
            let schedule = Schedule::new(kind, 0.1, 100);
            assert_eq!(schedule.factor(0), 0.0);
            assert_eq!(schedule.factor(5), 0.5);
            assert_eq!(schedule.factor(10), 1.0);
            assert!((schedule.factor(55) - 0.5).abs() < 1e-12);
            assert!(schedule.factor(100) < 1e-12);
        }
    }

    #[test]
    fn warmup_is_steps_or_a_share() {
        assert_eq!(
            Schedule::new(ScheduleKind::Constant, 5.0, 100).factor(4),
            0.8
        );
        assert_eq!(
            Schedule::new(ScheduleKind::Constant, 0.0, 100).factor(0),
            1.0
        );
        assert_eq!(
            Schedule::new(ScheduleKind::Linear, 500.0, 10).factor(5),
            0.5
        );
        assert_eq!(Schedule::new(ScheduleKind::Linear, 0.06, 1).factor(0), 1.0);
        assert_eq!(Schedule::new(ScheduleKind::Linear, 0.06, 2).factor(0), 0.0);
    }
}
