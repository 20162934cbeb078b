#![warn(missing_docs)]
//! The training loop over any Burn module with adapters: optimiser, schedule, gradients, objectives, state.
//!
//! [`Trainer`] takes the steps; an [`Objective`] says what is learned. A trainer can be interrupted and go on to the same bits by its
//! [`TrainerState`], which holds trained parameters and moments bit by bit, while dropout and schedule
//! are functions of the seed and the number of steps done.
//!
//! Training that would learn nothing or nonsense ends in a [`TrainError`] that names the tensor or the
//! modules: NaN and infinity ([`TrainError::NotFinite`]), no gradient at all
//! ([`TrainError::NoGradient`]), adapters that no gradient reaches ([`TrainError::SilentAdapters`]).

/// What a traversal of a module does that follows its path, in a field `path`.
macro_rules! follow_path {
    () => {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
    };
}

mod error;
mod gradients;
mod memory;
mod metrics;
mod objective;
mod optimizer;
mod parameters;
mod schedule;
mod tied;
mod trainer;

pub use error::{BadTensor, TrainError};
pub use gradients::{GradientSet, gradients};
pub use memory::{peak_memory, resident_anonymous};
pub use metrics::{Metrics, classification, multi_label, regression};
pub use objective::{
    ClassFigures, Classification, Confusion, Entity, Evaluation, HeadNeed, MultiLabel, NextToken,
    Objective, Prediction, Regression, Selector, Tally, Targets, TokenClassification, Truth,
    entities, less_is_better,
};
pub use optimizer::{AdamW, AdamWState, ParameterStep};
pub use parameters::{
    HostTensors, adapter_parameters, first_not_finite, restore_parameters, trained_modules,
    trained_parameters, trains_undecayed,
};
pub use schedule::{Schedule, ScheduleKind};
pub use trainer::{StepReport, Trainer, TrainerConfig, TrainerState};

pub use peft_core as core;
pub use peft_core::{AdamWConfig, Output};
