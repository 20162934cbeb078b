//! What a run does before, and until, its adapters are trained.

use std::collections::BTreeMap;

use crate::{Fields, HostTensor, Method};

/// A phase of a run. Phases follow one another; each can be interrupted and resumed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PhaseSpec {
    /// Sum the gradients of the pre-trained weights over the first batches of the run, for
    /// [`Method::init`].
    Probe {
        /// How many batches.
        batches: usize,
    },
    /// Train adapters of another method on the same targets, together with the head.
    WarmUp {
        /// The method, such as a dense change of every targeted weight.
        method: Box<dyn Method>,
        /// How long.
        length: PhaseLength,
    },
    /// Show the run's method what the warm-up changed, and let it [choose](Method::choose) what to train.
    Choose,
    /// Put the modules trained in full, the head among them, back to what they were before the warm-up.
    /// The warm-up's adapters are gone in any case.
    Reset,
    /// Train the adapters of the run's method. Always the last phase.
    Train,
}

impl PhaseSpec {
    /// Its name: `probe`, `warm-up`, `choose`, `reset`, `train`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "probe",
            Self::WarmUp { .. } => "warm-up",
            Self::Choose => "choose",
            Self::Reset => "reset",
            Self::Train => "train",
        }
    }
}

/// How long a phase trains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PhaseLength {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the data.
    Epochs(f64),
}

/// What a warm-up changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warmed {
    /// The change of each adapted weight, `W′ − W` in Burn's layout (`[in, out]` of a linear layer), by the
    /// checkpoint's name of its module.
    pub changes: BTreeMap<String, HostTensor>,
    /// What each adapted [parameter](crate::SiteKind::Parameter) was before, by the checkpoint's name of it; weights
    /// are not among them.
    pub before: BTreeMap<String, HostTensor>,
    /// What the warm-up's method [remembers](crate::AdapterStep::memory) of each site, flat, by the checkpoint's names.
    pub memory: BTreeMap<String, Fields<HostTensor>>,
}

/// What a method chose of each target, by the checkpoint's names: tensors of the method's own, kept with the
/// run so that one that is resumed need not warm up again.
pub type WarmUpChoice = BTreeMap<String, Fields<HostTensor>>;
