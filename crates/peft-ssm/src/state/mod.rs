//! What a state space starts from, has and gives, trained as modules in slots.

mod adapters;
mod kind;
mod method;

pub use adapters::{MoreStates, OutputOffset, Start, StateOffset};
pub use kind::StateKind;
pub use method::{AdditionalScanConfig, AffixConfig, StateMethod};
