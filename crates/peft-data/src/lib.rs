//! Data sets, tokenizers and length-bucketed batches for fine-tuning text models.
//!
//! The walk: a [`RowReader`] streams rows from CSV, TSV, JSON Lines, Parquet or plain text; a
//! [`ColumnMap`] says which columns hold the text, its pair and the labels; a [`TextTokenizer`] read
//! from a Hugging Face model folder turns them into token ids; a [`Dataset`] keeps those ids
//! compactly, in memory or beyond a limit in a temporary file; a [`BatchPlan`] orders them into
//! batches of similar length, packed without padding. [`Parts`] goes through a file without keeping
//! it, [`Preview`] looks at it beforehand.
//!
//! Nothing here touches a tensor library, and nothing here depends on the order of calls: shuffles
//! and splits are functions of `(seed, epoch, index)` alone.
#![warn(missing_docs)]

mod batch;
mod builder;
mod causal;
mod chat;
mod choice;
mod columns;
mod dataset;
mod error;
mod flags;
mod format;
mod label_store;
mod labels;
mod literal;
mod load;
mod multi;
mod plan;
mod preview;
mod reader;
mod report;
mod rng;
mod split;
mod store;
mod stream;
mod targets;
mod task;
mod threads;
mod tokenizer;
mod words;

pub use batch::Batch;
pub use causal::{CausalOptions, CausalReport, Cut, LossOn, Marks, PreviewSpan, SampleBy, TooLong};
pub use chat::{ChatTemplate, CivilTime, Clock, Conversation, MaskKind, Message, Rendered};
pub use choice::ChoiceColumn;
pub use columns::{ColumnMap, Columns};
pub use dataset::{Dataset, Labels};
pub use error::{DataError, Location};
pub use format::Format;
pub use labels::{LabelMap, MAX_LABELS};
pub use load::LoadOptions;
pub use plan::{BatchPlan, Cursor};
pub use preview::{Preview, PreviewLengths, PreviewRow, PreviewTargets};
pub use reader::{
    Delimiter, MAX_COLUMNS, MAX_FIELD_BYTES, MAX_LIST, MAX_ROW_BYTES, ReadOptions, Row, RowReader,
    Value,
};
pub use report::{Bin, Lengths, LoadReport};
pub use rng::CounterRng;
pub use split::{split, split_stratified};
pub use store::SPILL_BYTES;
pub use stream::Parts;
pub use task::Task;
pub use tokenizer::{DecodeStream, Encoded, TextTokenizer};
