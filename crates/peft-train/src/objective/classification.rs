use burn::{
    Tensor,
    tensor::{Device, activation::softmax},
};
use peft_core::kernels::cross_entropy;

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth, expect_scores, integers,
    other_truth,
    prediction::{incomparable, nothing},
    rows_of, scores,
};
use crate::{Output, TrainError, metrics::Confusion};

const NAME: &str = "classify";

/// One class of several a sequence, by cross-entropy.
///
/// The loss of scores `x` and the class `c` of a row is `ln Σ exp xᵢ − x_c`. The better of two evaluations
/// is that of the higher accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    classes: usize,
}

impl Classification {
    /// Of so many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes }
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
        cross_entropy(expect_scores(output), classes)
    }

    fn predict(&self, output: Output, _: Option<&Truth>) -> Result<Vec<Prediction>, TrainError> {
        let probabilities = softmax(scores(self, output)?, 1);
        let rows = rows_of(probabilities).into_iter();
        Ok(rows.map(Prediction::Class).collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Classes {
            rows: 0,
            loss: 0.0,
            counts: Confusion::new(self.classes),
        })
    }

    fn main_metric(&self) -> &'static str {
        "accuracy"
    }

    fn better(&self, new: &Evaluation, old: &Evaluation) -> bool {
        new.metrics["accuracy"] > old.metrics["accuracy"]
    }
}

#[derive(Debug)]
struct Classes {
    rows: usize,
    loss: f64,
    counts: Confusion,
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
            let (Prediction::Class(probabilities), Some(class)) = (prediction, prediction.class())
            else {
                return Err(incomparable(NAME));
            };
            let p = probabilities.get(*label as usize);
            let p = *p.ok_or_else(|| incomparable(NAME))?;
            if probabilities.len() != self.counts.classes() {
                return Err(incomparable(NAME));
            }
            self.rows += 1;
            self.loss += surprisal(p);
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
        })
    }
}

/// `−ln p`. A probability that underflowed costs much, not infinitely much; NaN stays NaN.
fn surprisal(p: f32) -> f64 {
    let least = f32::MIN_POSITIVE;
    -f64::from(if p < least { least } else { p }).ln()
}
