use burn::{
    Tensor,
    tensor::{
        Device, TensorData,
        activation::{log_softmax, softmax},
    },
};
use peft_core::kernels::cross_entropy;

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth, expect_scores, integers,
    other_truth,
    prediction::{incomparable, nothing},
    rows_of, scores,
};
use crate::{Output, TrainError, metrics::Counts};

const NAME: &str = "classify";

/// One class of several a sequence, by cross-entropy.
///
/// The loss of scores `x` and the class `c` of a row is `ln Σ exp xᵢ − x_c`. Of two evaluations that of
/// the higher accuracy is better, if nothing else is asked for.
///
/// Classes may have weights `w`: the loss is then the mean weighted by them, `Σ w_c (ln Σ exp xᵢ − x_c) / Σ w_c`, as in
/// PyTorch. Evaluations count all rows alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    classes: usize,
    weights: Option<Vec<f64>>,
}

impl Classification {
    /// Of so many classes.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            weights: None,
        }
    }

    /// With a weight for each class.
    ///
    /// # Panics
    /// If there is not one for each, above 0 and finite.
    #[must_use]
    pub fn with_weights(self, weights: Vec<f64>) -> Self {
        assert_eq!(weights.len(), self.classes, "a weight for each class");
        let sound = |weight: &f64| weight.is_finite() && *weight > 0.0;
        assert!(weights.iter().all(sound), "weights above 0");
        Self {
            weights: Some(weights),
            ..self
        }
    }
}

impl Objective for Classification {
    fn name(&self) -> &'static str {
        NAME
    }

    fn task_type(&self) -> &'static str {
        "SEQ_CLS"
    }

    fn class_suffix(&self) -> &'static str {
        "ForSequenceClassification"
    }

    fn problem_type(&self) -> Option<&'static str> {
        Some("single_label_classification")
    }

    fn pipeline_tag(&self) -> &'static str {
        "text-classification"
    }

    fn summary(&self) -> &'static str {
        "It tells which label a text has"
    }

    fn head(&self) -> HeadNeed {
        HeadNeed::Sequence {
            outputs: self.classes,
        }
    }

    fn weight(&self, truth: &Truth) -> f64 {
        let (Some(weights), Truth::Classes(classes)) = (&self.weights, truth) else {
            return truth.rows() as f64;
        };
        let of = |class: &u32| weights.get(*class as usize).copied().unwrap_or(0.0);
        classes.iter().map(of).sum()
    }

    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError> {
        let Truth::Classes(classes) = truth else {
            return Err(other_truth(self, truth));
        };
        let classes = classes.iter().map(|class| *class as usize);
        Ok(Targets::Classes(integers(classes, device)))
    }

    fn loss(&self, output: Output, targets: Targets) -> Tensor<1> {
        let Targets::Classes(classes) = targets else {
            panic!("the targets of a classification are classes");
        };
        let scores = expect_scores(output);
        let Some(weights) = &self.weights else {
            return cross_entropy(scores, classes);
        };
        let options = (&scores.device(), scores.dtype());
        let data = TensorData::new(weights.clone(), [weights.len()]);
        let weights = Tensor::<1>::from_data(data, options).select(0, classes.clone());
        let rows = classes.dims()[0];
        let true_ones = log_softmax(scores, 1).gather(1, classes.reshape([rows, 1]));
        let costs = true_ones.reshape([rows]).neg() * weights.clone();
        costs.sum() / weights.sum()
    }

    fn predict(&self, output: Output, _: Option<&Truth>) -> Result<Vec<Prediction>, TrainError> {
        let scores = scores(self, output)?;
        let probabilities = rows_of(softmax(scores.clone(), 1));
        let rows = rows_of(scores).into_iter().zip(probabilities);
        Ok(rows
            .map(|(scores, probabilities)| Prediction::Class {
                scores,
                probabilities,
            })
            .collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Classes {
            rows: 0,
            loss: 0.0,
            counts: Counts::new(self.classes),
        })
    }

    fn main_metric(&self) -> &'static str {
        "accuracy"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["loss", "accuracy", "f1", "matthews"]
    }

    fn select_metric(&self) -> &'static str {
        "accuracy"
    }
}

#[derive(Debug)]
struct Classes {
    rows: usize,
    loss: f64,
    counts: Counts,
}

impl Tally for Classes {
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError> {
        let Truth::Classes(actual) = truth else {
            return Err(incomparable(NAME));
        };
        if predictions.len() != actual.len() {
            return Err(incomparable(NAME));
        }
        for (prediction, label) in predictions.iter().zip(*actual) {
            let (
                Prediction::Class {
                    scores,
                    probabilities,
                },
                Some(class),
            ) = (prediction, prediction.class())
            else {
                return Err(incomparable(NAME));
            };
            let classes = self.counts.classes();
            if scores.len() != classes
                || probabilities.len() != classes
                || *label as usize >= classes
            {
                return Err(incomparable(NAME));
            }
            self.rows += 1;
            self.loss += cost(scores, *label as usize);
            self.counts.add(class, *label);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError> {
        if self.rows == 0 {
            return Err(nothing(NAME));
        }
        Ok(Evaluation {
            loss: self.loss / self.rows as f64,
            metrics: self.counts.metrics(),
            rows: self.rows,
            confusion: Some(self.counts.confusion()),
        })
    }
}

/// `ln Σ exp xᵢ − x_c`: a probability in `f32` would be rounded to nothing for a sure mistake.
pub(super) fn cost(scores: &[f32], class: usize) -> f64 {
    let largest = scores
        .iter()
        .fold(f32::NEG_INFINITY, |most, x| most.max(*x));
    let above = |x: f32| f64::from(x) - f64::from(largest);
    let sum: f64 = scores.iter().map(|x| above(*x).exp()).sum();
    sum.ln() - above(scores[class])
}
