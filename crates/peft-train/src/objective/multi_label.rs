use burn::{
    Tensor,
    tensor::{
        Device, TensorData,
        activation::{relu, sigmoid},
    },
};

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth, expect_scores, other_truth,
    prediction::{incomparable, nothing},
    rows_of, scores,
};
use crate::{Output, TrainError, metrics::LabelHits};

const NAME: &str = "multi-label";

/// Any number of labels a sequence, each by itself, by binary cross-entropy.
///
/// The loss of a score `x` and its truth `z` (0 or 1) is `max(x, 0) − x z + ln(1 + exp(−|x|))`, averaged over
/// rows and labels: it overflows for no `x`. Of two evaluations that of the higher F1 over all labels of all
/// rows is better, if nothing else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiLabel {
    labels: usize,
}

impl MultiLabel {
    /// Of so many labels.
    pub fn new(labels: usize) -> Self {
        Self { labels }
    }
}

impl Objective for MultiLabel {
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
        Some("multi_label_classification")
    }

    fn pipeline_tag(&self) -> &'static str {
        "text-classification"
    }

    fn summary(&self) -> &'static str {
        "It tells which labels a text has"
    }

    fn head(&self) -> HeadNeed {
        HeadNeed::Sequence {
            outputs: self.labels,
        }
    }

    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError> {
        let Truth::MultiHot { values, width } = truth else {
            return Err(other_truth(self, truth));
        };
        let data = TensorData::new(values.to_vec(), [truth.rows(), *width]);
        Ok(Targets::Labels(Tensor::from_data(data, device)))
    }

    fn loss(&self, output: Output, targets: Targets) -> Tensor<1> {
        let Targets::Labels(values) = targets else {
            panic!("the targets of several labels are ones and zeros");
        };
        let outputs = expect_scores(output);
        let values = values.cast(outputs.dtype());
        let rest = outputs.clone().abs().neg().exp().log1p();
        (relu(outputs.clone()) - outputs * values + rest).mean()
    }

    fn predict(&self, output: Output, _: Option<&Truth>) -> Result<Vec<Prediction>, TrainError> {
        let scores = scores(self, output)?;
        let probabilities = rows_of(sigmoid(scores.clone()));
        let rows = rows_of(scores).into_iter().zip(probabilities);
        Ok(rows
            .map(|(scores, probabilities)| Prediction::Labels {
                scores,
                probabilities,
            })
            .collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Labels {
            width: self.labels,
            rows: 0,
            loss: 0.0,
            hits: LabelHits::new(self.labels),
        })
    }

    fn main_metric(&self) -> &'static str {
        "f1"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["loss", "f1", "f1_macro", "accuracy"]
    }

    fn select_metric(&self) -> &'static str {
        "f1"
    }
}

#[derive(Debug)]
struct Labels {
    width: usize,
    rows: usize,
    /// Sum over rows and labels.
    loss: f64,
    hits: LabelHits,
}

impl Tally for Labels {
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError> {
        let Truth::MultiHot { values, width } = truth else {
            return Err(incomparable(NAME));
        };
        if *width != self.width || predictions.len() != truth.rows() {
            return Err(incomparable(NAME));
        }
        for (prediction, actual) in predictions.iter().zip(values.chunks((*width).max(1))) {
            let Prediction::Labels {
                scores,
                probabilities,
            } = prediction
            else {
                return Err(incomparable(NAME));
            };
            if scores.len() != *width || probabilities.len() != *width {
                return Err(incomparable(NAME));
            }
            self.rows += 1;
            for (score, z) in scores.iter().zip(actual) {
                self.loss += cost(f64::from(*score), *z > 0.5);
            }
            self.hits.add(probabilities, actual);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError> {
        if self.rows == 0 {
            return Err(nothing(NAME));
        }
        Ok(Evaluation {
            loss: self.loss / (self.rows * self.width) as f64,
            metrics: self.hits.metrics(),
            rows: self.rows,
            confusion: None,
        })
    }
}

/// `−ln` of the probability of what is true: `1 − p` in `f32` would round a sure mistake to nothing.
fn cost(score: f64, has: bool) -> f64 {
    let wrong = if has { -score } else { score };
    let positive = if wrong < 0.0 { 0.0 } else { wrong };
    positive + (-wrong.abs()).exp().ln_1p()
}
