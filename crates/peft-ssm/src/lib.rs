#![warn(missing_docs)]
//! Fine-tuning of state-space models.
//!
//! - [`SdtMethod`]: sparse dimension tuning ([2410.09016](https://arxiv.org/abs/2410.09016)): of a few states of a few
//!   channels the decay rates and the input and output matrices are trained, chosen by a warm-up.
//! - [`SdLoraMethod`]: the same beside low-rank updates of the projections, the paper's SDLoRA.
//! - [`ComponentsMethod`]: chosen components of a block, in full or by low-rank updates of single pieces of a projection.
//! - [`ProDialMethod`]: near-diagonal transforms of the projections ([2411.15224](https://arxiv.org/abs/2411.15224)).
//! - [`SllLoraMethod`]: low-rank updates of all large layers, of a rank by the model's width
//!   ([2406.00209](https://arxiv.org/abs/2406.00209)).
//! - [`S4Layer`], [`S6Layer`]: the layers of the theory behind sparse dimension tuning.
//! - [`StateMethod`]: what a state space starts from, has and gives: initial states, state offsets, additional scans, affixes.

mod components;
mod prodial;
mod sdlora;
mod sdt;
mod sll;
mod state;
mod theory;

pub use components::{ComponentPreset, ComponentsConfig, ComponentsMethod, PieceLora, WholeWeight};
pub use prodial::{ProDial, ProDialConfig, ProDialMethod};
pub use sdlora::SdLoraMethod;
pub use sdt::{
    ChannelColumns, Scores, SdtBudget, SdtConfig, SdtMethod, SdtSelector, SparseOffset, WholeOffset,
};
pub use sll::SllLoraMethod;
pub use state::{
    AdditionalScanConfig, AffixConfig, MoreStates, OutputOffset, Start, StateKind, StateMethod,
    StateOffset,
};
pub use theory::{S4Layer, S6Layer};
