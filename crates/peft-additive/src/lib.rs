#![warn(missing_docs)]
//! Modules inserted in a model's blocks, and values added to its parameters.
//!
//! - [`BottleneckMethod`]: a narrow feed-forward module in a [slot](peft_core::Slot) of every block
//!   (Houlsby et al. 2019, Pfeiffer et al. 2020), or beside its feed-forward part (He et al. 2022).
//! - [`SerialParallelMethod`]: AutoPEFT's serial and parallel modules together
//!   ([2301.12132](https://arxiv.org/abs/2301.12132)).
//! - [`BitFitMethod`]: an offset on every bias ([2106.10199](https://arxiv.org/abs/2106.10199)).
//! - [`Ia3Method`]: factors on keys, values and the feed-forward part's inner activation
//!   ([2205.05638](https://arxiv.org/abs/2205.05638)).
//! - [`NormTuningMethod`]: the norms' own parameters ([2312.11420](https://arxiv.org/abs/2312.11420)).
//! - [`SsfMethod`]: scales and shifts of what layers and norms give
//!   ([2210.08823](https://arxiv.org/abs/2210.08823)).
//! - [`PrefixMethod`]: keys and values before those of every sequence
//!   ([2101.00190](https://arxiv.org/abs/2101.00190)).
//! - [`PromptMethod`], [`PTuningMethod`]: rows before the embedded tokens
//!   ([2104.08691](https://arxiv.org/abs/2104.08691), [2103.10385](https://arxiv.org/abs/2103.10385)).
//!
//! Modules in slots change what passes there and no weight: they cannot be merged. Offsets, factors, scales and
//! shifts fold into the parameters beside them.

mod bitfit;
mod bottleneck;
mod fields;
mod ia3;
mod norms;
mod prefix;
mod prompt;
mod ssf;

pub use bitfit::{BitFitMethod, Offset};
pub use bottleneck::{
    Bottleneck, BottleneckConfig, BottleneckInit, BottleneckInput, BottleneckKind,
    BottleneckMethod, NonLinearity, SerialParallel, SerialParallelConfig, SerialParallelMethod,
};
pub use ia3::{FeedForwardModules, Ia3, Ia3Config, Ia3Method};
pub use norms::{NormTuningMethod, Replaced};
pub use prefix::{Prefix, PrefixConfig, PrefixInit, PrefixMethod, ProjectedPrefix};
pub use prompt::{
    EncodedPrompt, PTuningConfig, PTuningMethod, Prompt, PromptConfig, PromptInit, PromptMethod,
};
pub use ssf::{ScaleShift, SsfConfig, SsfMethod};
