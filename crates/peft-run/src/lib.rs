#![warn(missing_docs)]
//! Fine-tuning from files to files: settings, opening, planning, runs, merging, verification, reports.
//!
//! [`train`] is a whole run from files to an adapter folder. It can be interrupted and go on to the same
//! bits ([`RunConfig::resume`]). The loop itself, for any Burn module, is
//! [`Trainer`](peft_train::Trainer) in `peft-train`. Several runs of a process share what is costly and the
//! same as a [`Prepared`] value ([`train_prepared`]).
//!
//! A run that would learn nothing or nonsense ends in a [`RunError`] that names the tensor or the
//! modules, such as adapters that end as they began
//! ([`TrainError::NotMoved`]).

mod base;
mod batch;
mod blame;
mod cache;
mod checkpoint;
mod class_weights;
mod config;
mod convert;
mod device;
mod dtype;
mod error;
mod evaluate;
mod event;
mod features;
mod frozen;
mod generate;
mod loss;
mod merge;
mod objective;
mod occupied;
mod open;
mod plan;
mod prepared;
mod report;
mod run;
mod session;
mod sidecar;
mod size;
mod summary;
mod task;
mod tensorboard;
mod text;
mod verify;

pub use base::BaseFile;
pub use batch::pack;
pub use blame::blame;
pub use cache::cache_folder;
pub use class_weights::ClassWeights;
pub use config::{Flag, Sources, recorded};
pub use convert::{AdapterFormat, ConvertOptions, ConvertReport, convert, convert_watched};
pub use device::{DeviceChoice, SelectedDevice};
pub use dtype::{BaseDtype, BaseOptions, ComputeType, Computing, GenerationCompute, Quantize};
pub use error::RunError;
pub use evaluate::{
    evaluate, evaluate_parts, evaluate_with, predict, predict_by_rows, predict_watched,
};
pub use event::{Event, Progress};
pub use frozen::frozen_classes;
pub use generate::{
    Chat, Finish, Generated, GenerationConfig, Generator, GeneratorModel, OpenGenerator, Prompt,
};
pub use loss::{differentiate, labelled_batch};
pub use merge::{MergeOptions, MergeReport, merge, merge_watched};
pub use objective::{objective, truth};
pub use open::{Adapted, AdaptedSet, NamedAdapter, OpenOptions, OpenSetOptions, open, open_set};
pub use plan::{
    DataPlan, Footprint, LeftOut, MemoryPlan, ModuleGroup, Plan, Rates, SiteValues, TimePlan,
    Unmatched, calibrate, plan,
};
pub use prepared::{Metric, Prepared};
pub use report::{RunFolder, RunStatus, WorstRow, bytes, duration, figure, report};
pub use run::{RunConfig, RunReport, train, train_method, train_prepared};
pub use session::{expect_only_runs, left_out_of, numbered, weight_gradients};
pub use size::ByteSize;
pub use task::TaskFile;
pub use text::{chat_template, tokenizer};
pub use verify::{BaseVerdict, ModuleCheck, Problem, VerifyReport, verify, verify_watched};

pub use peft_core as core;
pub use peft_core::kernels::{keep_freed_memory, release_freed_memory};
pub use peft_data as data;
pub use peft_methods as methods;
pub use peft_models as models;
pub use peft_train::{
    ClassFigures, Confusion, Evaluation, HeadNeed, Metrics, Objective, Prediction, ScheduleKind,
    Selector, TrainError, entities, less_is_better, peak_memory, resident_anonymous,
};

/// The commit of the program, if it has told one.
static COMMIT: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

/// Tell which commit the program is built from, for the records of its runs. Only the first call counts.
pub fn built_from(commit: &'static str) {
    let _ = COMMIT.set(commit);
}

fn commit() -> Option<&'static str> {
    COMMIT.get().copied()
}
