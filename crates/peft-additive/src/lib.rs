#![warn(missing_docs)]
//! Modules inserted in a model's blocks, and values added to its parameters.
//!
//! - [`BottleneckMethod`]: a narrow feed-forward module in a [slot](peft_core::Slot) of every block
//!   (Houlsby et al. 2019, Pfeiffer et al. 2020).
//! - [`BitFitMethod`]: an offset on every bias ([2106.10199](https://arxiv.org/abs/2106.10199)).
//!
//! Modules in slots change what passes there and no weight: they cannot be merged. Offsets fold into the
//! parameters that they are added to.

mod bitfit;
mod bottleneck;
mod fields;

pub use bitfit::{BitFitMethod, Offset};
pub use bottleneck::{
    Bottleneck, BottleneckConfig, BottleneckInit, BottleneckInput, BottleneckMethod, NonLinearity,
};
