//! How long phases are.

use peft_core::{PhaseLength, PhaseSpec};

use crate::RunConfig;

/// Optimiser steps of a phase on so many rows.
pub fn steps_of(length: PhaseLength, config: &RunConfig, rows: usize) -> u64 {
    match length {
        PhaseLength::Steps(steps) => steps,
        PhaseLength::Epochs(epochs) => {
            let epoch = config.steps_per_epoch(rows);
            ((epochs * epoch as f64).round() as u64).max(1)
        }
    }
}

/// Steps of all warm-ups; of those in passes over the data only where its rows are known.
pub fn warm_up_steps(phases: &[PhaseSpec], config: &RunConfig, rows: Option<usize>) -> u64 {
    let of = |phase: &PhaseSpec| match (phase, rows) {
        (PhaseSpec::WarmUp { length, .. }, Some(rows)) => steps_of(*length, config, rows),
        (PhaseSpec::WarmUp { length, .. }, None) => match length {
            PhaseLength::Steps(steps) => *steps,
            PhaseLength::Epochs(_) => 0,
        },
        _ => 0,
    };
    phases.iter().map(of).sum()
}
