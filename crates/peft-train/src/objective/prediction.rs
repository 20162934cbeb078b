use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::Truth;
use crate::{Metrics, TrainError};

/// The prediction of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// One class of several.
    Class {
        /// The model's scores of the classes, whose softmax are the probabilities.
        scores: Vec<f32>,
        /// Probabilities of the classes.
        probabilities: Vec<f32>,
    },
    /// A number.
    Number(f32),
    /// Each label by itself.
    Labels {
        /// The model's scores of the labels, whose sigmoids are the probabilities.
        scores: Vec<f32>,
        /// Probabilities of the labels.
        probabilities: Vec<f32>,
    },
    /// `−ln p` of each token of the row that was to be predicted, in natural units.
    Tokens(Vec<f64>),
    /// One class of several for each word.
    Words {
        /// Which words of the row these are.
        words: Vec<u32>,
        /// The model's scores of the classes of each.
        scores: Vec<Vec<f32>>,
    },
}

impl Prediction {
    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Number(value) => value.is_finite(),
            Self::Class { probabilities, .. } | Self::Labels { probabilities, .. } => {
                probabilities.iter().all(|p| p.is_finite())
            }
            Self::Tokens(costs) => costs.iter().all(|cost| cost.is_finite()),
            Self::Words { scores, .. } => scores.iter().flatten().all(|score| score.is_finite()),
        }
    }

    /// The most probable class; the first of equals.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class { probabilities, .. } => Some(largest(probabilities)),
            _ => None,
        }
    }

    /// The most probable class of every word.
    pub fn classes(&self) -> Option<Vec<u32>> {
        match self {
            Self::Words { scores, .. } => {
                Some(scores.iter().map(|scores| largest(scores)).collect())
            }
            _ => None,
        }
    }
}

/// The place of the largest value; the first of equals.
fn largest(values: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best as u32
}

/// An evaluation on rows whose truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss over the targets.
    pub loss: f64,
    /// The objective's metrics.
    pub metrics: Metrics,
    /// Rows.
    pub rows: usize,
    /// Which classes were taken for which, where each row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}

/// Rows by the class that is true and the class that was predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Number of classes.
    pub classes: usize,
    /// True class, predicted class, and rows, where there are some, in rising order.
    pub counts: Vec<[u64; 3]>,
}

/// How well one class is told from the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Of the rows predicted to have the class, the share that has it.
    pub precision: f64,
    /// Of the rows that have the class, the share predicted to have it.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// Rows that have the class.
    pub support: u64,
}

impl Confusion {
    /// Rows of each class: true, predicted, both.
    fn sums(&self) -> Vec<[u64; 3]> {
        let mut sums = vec![[0; 3]; self.classes];
        for [actual, predicted, rows] in &self.counts {
            let (actual, predicted) = (*actual as usize, *predicted as usize);
            if let Some(sum) = sums.get_mut(actual) {
                sum[0] += rows;
                sum[2] += if actual == predicted { *rows } else { 0 };
            }
            if let Some(sum) = sums.get_mut(predicted) {
                sum[1] += rows;
            }
        }
        sums
    }

    /// Precision, recall and F1 of each class, 0 where their denominator is, as in scikit-learn's
    /// `classification_report`.
    pub fn by_class(&self) -> Vec<ClassFigures> {
        let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let of = |[actual, predicted, hits]: [u64; 3]| ClassFigures {
            precision: ratio(hits, predicted),
            recall: ratio(hits, actual),
            f1: ratio(2 * hits, actual + predicted),
            support: actual,
        };
        self.sums().into_iter().map(of).collect()
    }

    /// The whole matrix, a row for each true class.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        for [actual, predicted, rows] in &self.counts {
            let row = matrix.get_mut(*actual as usize);
            if let Some(cell) = row.and_then(|row| row.get_mut(*predicted as usize)) {
                *cell += rows;
            }
        }
        matrix
    }

    /// The class that every row was predicted to have, where the rows are of several.
    pub fn only_prediction(&self) -> Option<usize> {
        let sums = self.sums();
        let several = sums.iter().filter(|sum| sum[0] > 0).count() > 1;
        let mut predicted = (0..self.classes).filter(|class| sums[*class][1] > 0);
        let only = predicted.next()?;
        (several && predicted.next().is_none()).then_some(only)
    }
}

/// Predictions compared with the truth so far.
///
/// Sums run row by row, so that rows added in parts of any size give the same bits.
pub trait Tally: Debug {
    /// Compare some more rows.
    ///
    /// # Errors
    /// [`TrainError::Objective`] if predictions or truth are of another objective, or their numbers differ.
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError>;

    /// What it came to.
    ///
    /// # Errors
    /// [`TrainError::Objective`] if nothing was compared.
    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError>;
}

/// Predictions and truth that cannot be compared.
pub(super) fn incomparable(objective: &'static str) -> TrainError {
    TrainError::Objective {
        objective,
        problem: "predictions and labels do not belong together".into(),
    }
}

/// No rows to compare.
pub(super) fn nothing(objective: &'static str) -> TrainError {
    TrainError::Objective {
        objective,
        problem: "there are no labelled rows to compare with".into(),
    }
}
