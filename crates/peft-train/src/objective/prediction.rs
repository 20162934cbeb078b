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
        }
    }

    /// The most probable class; the first of equals.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class { probabilities, .. } => {
                let mut best = 0;
                for (index, p) in probabilities.iter().enumerate() {
                    if *p > probabilities[best] {
                        best = index;
                    }
                }
                Some(best as u32)
            }
            Self::Number(_) | Self::Labels { .. } | Self::Tokens(_) => None,
        }
    }
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
