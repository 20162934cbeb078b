//! Problems with known answers, to measure searches on.

mod continuous;
mod synthetic;

pub use continuous::Continuous;
pub use synthetic::{SynthPeft, Variant};
