//! What is learned: targets, loss, predictions, how good they are, and what others call it.

mod classification;
mod entities;
mod multi_label;
mod next_token;
mod prediction;
mod regression;
mod selector;
mod token_classification;

use std::fmt::Debug;

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};

use peft_core::Output;

use crate::TrainError;

pub use classification::Classification;
pub use entities::{Entity, entities};
pub use multi_label::MultiLabel;
pub use next_token::NextToken;
pub use prediction::{ClassFigures, Confusion, Evaluation, Prediction, Tally};
pub use regression::Regression;
pub use selector::{Selector, less_is_better};
pub use token_classification::TokenClassification;

/// What the rows of a batch really are, on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth<'a> {
    /// The class of each row.
    Classes(&'a [u32]),
    /// The number of each row.
    Numbers(&'a [f32]),
    /// Any number of labels a row.
    MultiHot {
        /// 1 where a row has the label, else 0: `[rows, width]`, row after row.
        values: &'a [f32],
        /// Number of labels there are.
        width: usize,
    },
    /// Tokens to be predicted from the ones before them in their row.
    Tokens {
        /// The tokens of all rows.
        ids: &'a [u32],
        /// Where each row starts in `ids`, and the end of the last.
        starts: &'a [usize],
        /// One flag a token: whether it is to be predicted. The first of a row never is.
        trained: &'a [bool],
    },
    /// Words of every row, labelled at their first tokens.
    Words {
        /// One a token: the class of the word that begins with it, [`u32::MAX`] for tokens that are not to be labelled, and
        /// `u32::MAX − 1` for those that are, and whose class is not known.
        classes: &'a [u32],
        /// One a token: which word of its row begins with it.
        words: &'a [u32],
        /// Where each row starts, and the end of the last.
        starts: &'a [usize],
    },
}

impl Truth<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::MultiHot { values, width } => values.len().checked_div(*width).unwrap_or(0),
            Self::Tokens { starts, .. } | Self::Words { starts, .. } => {
                starts.len().saturating_sub(1)
            }
        }
    }

    /// What kind of truth it is, in words.
    fn kind(&self) -> &'static str {
        match self {
            Self::Classes(_) => "classes",
            Self::Numbers(_) => "numbers",
            Self::MultiHot { .. } => "several labels a row",
            Self::Tokens { .. } => "tokens",
            Self::Words { .. } => "labels of words",
        }
    }
}

/// What a loss compares with, on the device.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made for each part of a step, and a tensor is a handle of some hundred bytes"
)]
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes, `[rows]`.
    Classes(Tensor<1, Int>),
    /// Numbers, `[rows, 1]`.
    Numbers(Tensor<2>),
    /// 1 for the labels that a row has, else 0, `[rows, labels]`.
    Labels(Tensor<2>),
    /// Tokens, or classes of words, `[targets]`.
    Tokens {
        /// The row of the model's output that each is predicted from: that of the token before it, or of a word's first token.
        rows: Tensor<1, Int>,
        /// The tokens, or classes.
        ids: Tensor<1, Int>,
    },
}

/// The head that an objective needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNeed {
    /// Scores of whole sequences.
    Sequence {
        /// Scores a sequence.
        outputs: usize,
    },
    /// Scores of every token.
    Tokens {
        /// Scores a token.
        outputs: usize,
    },
    /// Scores of the next token, at every token.
    Language,
}

/// What a model is trained to do.
///
/// A batch may come in parts. The loss of a part is a mean over its targets, and its share of the batch is
/// its [weight](Self::weight) over the sum of all parts': then the parts add up to the mean over all
/// targets of the batch, however they are cut.
pub trait Objective: Debug + Send + Sync {
    /// Its name: `classify`, `multi-label`, `regress`, `token-classify`, `causal-lm`.
    fn name(&self) -> &'static str;

    /// What Hugging Face PEFT calls it, `task_type` in `adapter_config.json`: `SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM`.
    fn task_type(&self) -> &'static str;

    /// The end of the names of Hugging Face's classes of models for it: `ForSequenceClassification`,
    /// `ForCausalLM`.
    fn class_suffix(&self) -> &'static str;

    /// What Hugging Face calls the kind of labels, `problem_type` in `config.json`, where there are some.
    fn problem_type(&self) -> Option<&'static str>;

    /// What Hugging Face's hub calls the use of such a model: `text-classification`, `text-generation`.
    fn pipeline_tag(&self) -> &'static str;

    /// What such a model does, as the beginning of a sentence that may go on with the labels.
    fn summary(&self) -> &'static str;

    /// The head that it needs.
    fn head(&self) -> HeadNeed;

    /// Number of targets of a part, over which its loss is a mean.
    fn weight(&self, truth: &Truth) -> f64 {
        truth.rows() as f64
    }

    /// Move what a loss compares with to the device.
    ///
    /// # Errors
    /// [`TrainError::Objective`] if the rows are labelled for another objective.
    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError>;

    /// The mean loss over the targets of a part, `[1]`.
    ///
    /// # Panics
    /// If the model's head or the targets are of another objective.
    fn loss(&self, output: Output, targets: Targets) -> Tensor<1>;

    /// Predictions, one a sequence. Those of tokens say how probable the true ones are, and need them.
    ///
    /// # Errors
    /// [`TrainError::Objective`] if the model's head is of another objective, or the truth is needed and
    /// not there.
    fn predict(&self, output: Output, truth: Option<&Truth>)
    -> Result<Vec<Prediction>, TrainError>;

    /// Nothing compared yet.
    fn tally(&self) -> Box<dyn Tally>;

    /// Name of the metric that people ask for first.
    fn main_metric(&self) -> &'static str;

    /// Names of the figures of an evaluation, the loss first.
    fn figures(&self) -> &'static [&'static str];

    /// The figure that tells the better of two evaluations where nothing else is said.
    fn select_metric(&self) -> &'static str {
        "loss"
    }

    /// The least and the largest value that the main metric can have.
    fn metric_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
}

/// Rows that are labelled for another objective.
fn other_truth(objective: &dyn Objective, truth: &Truth) -> TrainError {
    TrainError::Objective {
        objective: objective.name(),
        problem: format!("the rows are labelled with {}", truth.kind()),
    }
}

/// The scores of sequences, `[sequences, outputs]`.
fn scores(objective: &dyn Objective, output: Output) -> Result<Tensor<2>, TrainError> {
    match output {
        Output::Scores(scores) => Ok(scores),
        Output::Tokens { .. } => Err(TrainError::Objective {
            objective: objective.name(),
            problem: "the model's head scores tokens, not sequences".into(),
        }),
    }
}

/// The scores of sequences that a loss is given.
fn expect_scores(output: Output) -> Tensor<2> {
    match output {
        Output::Scores(scores) => scores,
        Output::Tokens { .. } => panic!("the loss is of sequences, the model's head scores tokens"),
    }
}

/// `[rows, width]` values, row by row.
fn rows_of(values: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = values.dims();
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

/// Whole numbers as a tensor, `[values]`.
fn integers(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}
