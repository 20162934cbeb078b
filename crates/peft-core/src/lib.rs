#![warn(missing_docs)]
//! The adapter contract of the workspace, for any [Burn](burn) module.
//!
//! - [`Site`]: what can be adapted: a linear weight, a convolution, an embedding, any other parameter, and a
//!   [`Slot`], a place of a block where a module may be inserted. [`sites`] lists a model's.
//! - [`WeightAdapter`]: what one adapted weight does: factored product, dense weight, cost.
//!   [`ParameterAdapter`] and [`SlotAdapter`] do for other parameters and for slots.
//! - [`DynAdapter`]: any such adapter, attached to the `Param` it adapts or held by its slot.
//! - [`Method`]: how a family of adapters is initialised, stored and restored.
//! - [`attach`], [`save_adapter`], [`load_adapter`]: the same three steps for the model zoo and for
//!   a user's own model, with a [`NameMap`] between Burn paths and Hugging Face names.
//! - [`attach_as`], [`load_adapter_as`], [`set_active`], [`AdapterRoster`]: several adapters on one
//!   model, by name, switched or chosen row by row.
//! - [`nn`]: layers that know adapters: [`nn::Linear`] takes the factored path.
//! - [`Output`]: what a model gives the objective that it is trained by.
//! - [`places`], [`randperm`]: choosing entries of a matrix, by size or by a seed, also as torch draws.

mod adapter;
mod attach;
mod common;
mod erased;
mod error;
mod files;
mod gradients;
mod method;
mod names;
pub mod nn;
mod output;
mod path;
mod phases;
pub mod places;
pub mod randperm;
mod sets;
mod site;
mod slot;
mod step;
mod target;
mod tensors;
mod walk;

pub use adapter::{
    AdapterChoice, AdapterContext, AdapterSet, BASE, BaseLinear, Cost, DynAdapter, LowRankUpdate,
    ParameterAdapter, RowGroups, SlotAdapter, WeightAdapter, Whole, add_delta, check_adapter_name,
};
pub use attach::{
    AttachOptions, AttachReport, AttachedTarget, add_others, attach, attach_as, attach_built,
    is_saved, matched_modules, matched_sites, named_sites, resolve_sites, saved_with_biases,
    train_modules, train_weights,
};
pub use common::{Common, saved_beside_whole, shared_key, widest};
pub use error::AdapterError;
pub use files::{
    AdapterConfigExt, AdapterPart, LoadedAdapter, adapter_tensors, load_adapter, load_adapter_as,
    read_adapter, save_adapter, save_adapter_as, save_parts, saved_parameters,
};
pub use gradients::{GradientMoments, GradientWishes, MomentScope, WeightGradients, layer_type};
pub use method::{
    AdapterSpec, DefaultTargets, Fields, InitContext, Method, own_settings, settings_json,
};
pub use names::NameMap;
pub use output::Output;
pub use path::{AdapterPlace, ParamPath};
pub use peft_format::{HostTensor, host::transpose};
pub use phases::{PhaseLength, PhaseSpec, WarmUpChoice, Warmed};
pub use sets::{
    AdapterRoster, AdapterRows, MethodList, Methods, NamedMethods, Owner, remove_adapter,
    set_active,
};
pub use site::{Site, SiteKind, linear_sites, matrix_shape, sites};
pub use slot::{
    Hidden, InitialState, InputRows, KeyValues, Passing, Prefixes, Readout, ScannedStates, Slot,
};
pub use step::{AdamWConfig, AdapterStep, AfterStep, FieldChange, FieldStep, Values};
pub use target::Target;
pub use tensors::HostTensorExt;
pub use walk::{
    ParamSite, TiedParameter, adapted_places, field_methods, learning_rate_factors, mean_penalty,
    tied_parameters, trainable_parameters,
};

pub use peft_format as format;
pub use peft_kernels as kernels;
