#![warn(missing_docs)]
//! Fine-tuning from data to adapter: optimiser, schedules, the loop, metrics, evaluation, merging.
//!
//! [`train`] is a whole run from files to files; [`Trainer`] takes the steps of any Burn module with
//! adapters. Both can be interrupted and go on to the same bits: a run by [`RunConfig::resume`], a
//! trainer by its [`TrainerState`], which holds trained parameters and moments bit by bit, while
//! dropout, schedule and data order are functions of the seed and the number of steps done.
//!
//! A run that would learn nothing or nonsense ends in a [`TrainError`] that names the tensor or the
//! modules: NaN and infinity ([`TrainError::NotFinite`]), adapters that no gradient reaches
//! ([`TrainError::SilentAdapters`]), adapters that end as they began ([`TrainError::NotMoved`]).

mod base;
mod cache;
mod checkpoint;
mod config;
mod convert;
mod device;
mod dtype;
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
mod summary;
mod task;
mod tied;
mod trainer;
mod verify;

pub use base::BaseFile;
pub use cache::cache_folder;
pub use config::{Flag, Sources};
pub use convert::{ConvertOptions, ConvertReport, convert};
pub use device::{DeviceChoice, SelectedDevice};
pub use dtype::BaseDtype;
pub use error::{BadTensor, TrainError};
pub use evaluate::{
    Evaluation, Prediction, evaluate, evaluate_parts, evaluate_parts_by_rows, predict,
    predict_by_rows,
};
pub use event::{Event, Progress};
pub use gradients::{GradientSet, gradients};
pub use loss::{Targets, differentiate, loss, targets};
pub use memory::{peak_memory, resident_anonymous};
pub use merge::{MergeOptions, MergeReport, merge};
pub use metrics::{Metrics, classification, multi_label, regression};
pub use open::{Adapted, AdaptedSet, NamedAdapter, OpenOptions, OpenSetOptions, open, open_set};
pub use optimizer::{AdamW, AdamWState};
pub use parameters::{HostTensors, restore_parameters, trained_parameters};
pub use peft_core::kernels::{keep_freed_memory, release_freed_memory};
pub use plan::{
    DataPlan, MemoryPlan, ModuleGroup, Plan, Rates, TimePlan, Unmatched, calibrate, plan,
};
pub use run::{RunConfig, RunReport, train};
pub use schedule::{Schedule, ScheduleKind};
pub use session::{labelled_batch, weight_gradients};
pub use task::TaskFile;
pub use trainer::{StepReport, Trainer, TrainerConfig, TrainerState};
pub use verify::{BaseVerdict, ModuleCheck, Problem, VerifyReport, verify};

pub use peft_core as core;
pub use peft_core::AdamWConfig;
pub use peft_data as data;
pub use peft_methods as methods;
pub use peft_models as models;
