#![warn(missing_docs)]
//! Fine-tuning from data to adapter: optimiser, schedules, the loop, metrics, evaluation, merging.

mod base;
mod cache;
mod checkpoint;
mod device;
mod error;
mod evaluate;
mod event;
mod gradients;
mod loss;
mod memory;
mod merge;
mod metrics;
mod open;
mod optimizer;
mod parameters;
mod plan;
mod run;
mod schedule;
mod session;
mod sidecar;
mod task;
mod trainer;
mod verify;

pub use base::BaseFile;
pub use cache::cache_folder;
pub use device::{DeviceChoice, SelectedDevice};
pub use error::{BadTensor, TrainError};
pub use evaluate::{Evaluation, Prediction, evaluate, evaluate_parts, predict};
pub use event::{Event, Progress};
pub use gradients::{GradientSet, gradients};
pub use loss::{Targets, differentiate, loss, targets};
pub use memory::{peak_memory, resident_anonymous};
pub use merge::{MergeOptions, MergeReport, merge};
pub use metrics::{Metrics, classification, multi_label, regression};
pub use open::{Adapted, OpenOptions, open};
pub use optimizer::{AdamW, AdamWConfig, AdamWState};
pub use parameters::{HostTensors, restore_parameters, trained_parameters};
pub use plan::{
    DataPlan, MemoryPlan, ModuleGroup, Plan, Rates, TimePlan, Unmatched, calibrate, plan,
};
pub use run::{BaseDtype, RunConfig, RunReport, train};
pub use schedule::{Schedule, ScheduleKind};
pub use task::TaskFile;
pub use trainer::{StepReport, Trainer, TrainerConfig, TrainerState};
pub use verify::{BaseVerdict, ModuleCheck, Problem, VerifyReport, verify};

pub use peft_core as core;
pub use peft_data as data;
pub use peft_methods as methods;
pub use peft_models as models;
