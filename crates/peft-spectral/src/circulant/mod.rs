//! C3A's block-circulant product (Chen et al., "Parameter-Efficient Fine-Tuning via Circular
//! Convolution", arXiv 2407.19342), with Hugging Face PEFT's convention.

mod dense;
mod dft;
mod product;

pub use dense::{merge_into, peft_scale};
pub use product::BlockCirculant;
