//! Tensor operations that Burn lacks or does slowly.
//!
//! Every operation is a plain function over Burn's [`Tensor`](burn::tensor::Tensor) and, but for
//! [`adamw`], [`norms`] and [`squared_column_norms`], differentiates like any other. It has two bodies:
//!
//! - [`portable`]: composed of Burn operations, so it runs on every backend (flex, ndarray, wgpu,
//!   cuda …) and every float type, and Burn differentiates it;
//! - a fast one for Burn's CPU backend `Flex` and the types `f32` and `f64`, reached through an
//!   extension trait over Burn's `Backend`, with a hand-written backward pass that keeps little.
//!
//! The functions of the crate root choose by the device and type of their first argument. [`sparse_core`] has
//! a third body: kernels for the GPU backends, in CubeCL.
//!
//! | function | computes |
//! |---|---|
//! | [`gelu`], [`silu`] | activations |
//! | [`bias_activation`], [`gated`] | of a sum with a bias, or times another tensor (SwiGLU, GeGLU) |
//! | [`softmax`] | softmax over the last dimension |
//! | [`layer_norm`], [`add_layer_norm`] | layer normalisation, alone or of a sum |
//! | [`rms_norm`], [`add_rms_norm`] | normalisation by the root mean square, alone or of a sum |
//! | [`embedding`] | rows of a table |
//! | [`embedding_layer_norm`] | rows of tables, summed and normalised |
//! | [`rope`] | rotary position embedding |
//! | [`attention`], [`prefix_attention`], [`cached_attention`], [`biased_attention`] | softmax attention over rows packed without padding |
//! | [`causal_conv1d`], [`conv_state`] | causal convolution of every channel by itself, and where it goes on from |
//! | [`selective_scan`] | the recurrence of Mamba, with its states before and after |
//! | [`ssd`] | the recurrence of Mamba-2, in chunks |
//! | [`dropout`] | inverted dropout with a counter-based mask |
//! | [`top_gradient`] | nothing, but only the largest gradients come back |
//! | [`linear`] | product with a weight, plus bias |
//! | [`block_matrix`], [`has_blocks`], [`block_type`], [`decoded`] | weights that stay in quantised blocks where they are multiplied |
//! | [`linear_low_rank`], [`linear_core`], [`linear_plus`] | the same plus a product of narrow matrices |
//! | [`linear_updated`] | the same plus a trained change of the weight that is not formed |
//! | [`sparse_core`] | product with a sparse matrix that is made of trained values |
//! | [`SparsePattern`], [`SparseUpdate`] | products with a sparse matrix, and such a change that is sparse |
//! | [`linear_sine`] | product with a weight and with a sine of a low-rank matrix |
//! | [`rescale`] | columns stretched about a centre |
//! | [`squared_column_norms`] | the squared norm of every column of a matrix |
//! | [`cross_entropy`], [`head_cross_entropy`] | mean negative log-likelihood of logits, or under a language head |
//! | [`adamw`] | a step of AdamW for all trained tensors at once |
//! | [`norms`] | the norm of each of many tensors |
//! | [`set_compute`], [`compute`], [`bf16_units`], [`int8_units`] | nothing: in what type products are computed on the CPU |
//! | [`keep_freed_memory`], [`release_freed_memory`] | nothing: what becomes of the memory of freed tensors |
//! | [`mix_key`], [`key_of`], [`word`] | keys of random streams, and their words |
//! | [`uniform`], [`uniform_within`], [`normal`], [`keep`] | random numbers as pure functions of key and index |
//! | [`RopeSpec`] | the frequencies of rotary embeddings, and their tables |
//! | [`Mt19937`] | the generator of PyTorch, for files that name its seed |
//!
//! Results of the CPU bodies do not depend on the number of threads: work is split over rows, or
//! over (sequence, head) pairs, and no sum is ever split.

#[cfg(any(feature = "flex", feature = "ndarray", feature = "cubecl"))]
mod backends;
mod compute;
mod functions;
mod memory;
#[cfg(feature = "flex")]
mod ops;
pub mod portable;
mod random;
mod rope;
mod route;
mod rows;
mod sparse;
mod update;

#[cfg(feature = "flex")]
#[doc(hidden)]
pub use backends::flex::bf16_spin;
pub use compute::{Compute, bf16_units, compute, int8_units, set_compute};
pub use functions::*;
pub use memory::{keep_freed_memory, release_freed_memory};
pub use peft_blocks::BlockType;
pub use random::*;
pub use rope::{LongRope, RopeError, RopeFrequencies, RopeScaling, RopeSpec, RopeTables, Yarn};
pub use route::has_fast_body;
pub use rows::RowLayout;
pub use sparse::{Scalar, SparsePattern, SparseUpdate};
pub use update::{Applied, FormedUpdate, HostUpdate, RowUpdate};
