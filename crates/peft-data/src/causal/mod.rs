//! Rows for language models: text, prompts with completions, conversations.
//!
//! Every row becomes one list of token ids and one flag a token that says whether it is to be
//! predicted. The flags come from places in the text, in the same tokenization as the ids: counting
//! tokens of a prompt that was tokenized apart goes wrong wherever a token spans the border.

mod asked;
mod convert;
mod document;
mod encode;
mod json;
mod loader;
mod options;
mod preview;
mod report;
mod rows;
mod shape;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use loader::Loader;
pub use options::{CausalOptions, LossOn, SampleBy, TooLong};
pub use preview::{Marks, PreviewSpan};
pub use report::{CausalReport, Cut};
