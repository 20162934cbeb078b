#![warn(missing_docs)]
//! Fine-tuning of state-space models.
//!
//! - [`SdtMethod`]: sparse dimension tuning ([2410.09016](https://arxiv.org/abs/2410.09016)): of a few states of a few
//!   channels the decay rates and the input and output matrices are trained, chosen by a warm-up.
//! - [`SdLoraMethod`]: the same beside low-rank updates of the projections, the paper's SDLoRA.
//! - [`StateMethod`]: what a state space starts from, has and gives: initial states, state offsets, additional scans, affixes.

mod sdlora;
mod sdt;
mod state;

pub use sdlora::SdLoraMethod;
pub use sdt::{
    ChannelColumns, Scores, SdtBudget, SdtConfig, SdtMethod, SdtSelector, SparseOffset, WholeOffset,
};
pub use state::{
    AdditionalScanConfig, AffixConfig, MoreStates, OutputOffset, Start, StateKind, StateMethod,
    StateOffset,
};
