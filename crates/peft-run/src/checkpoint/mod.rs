//! What an interrupted run goes on from: the folder `checkpoint` in its output.
//!
//! It holds `state.json` (where the run stands, what determines it, what it has selected),
//! `chosen.safetensors` if the method chose by a warm-up,
//! `tensors.safetensors` ([`TrainerState`](peft_train::TrainerState)) and, once there is one, the best
//! adapter in `best/`. It is replaced as a whole, so that a run that is killed at any moment leaves
//! one whose parts belong together. A finished run keeps `state.json` alone.

mod chosen;
mod fingerprint;
mod folder;
pub mod hash;
mod settings;
mod state;

pub use fingerprint::{Fingerprint, adapter_inputs, inputs};
pub use folder::{CHECKPOINT, CheckpointFolder};
pub use settings::{Resolved, TIES, compare, settings};
pub use state::{Best, Ending, FIRST, PhaseState, RunState, VERSION};
