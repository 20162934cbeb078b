use burn::{
    Tensor,
    tensor::{Device, TensorData},
};

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth, expect_scores, other_truth,
    prediction::{incomparable, nothing},
    rows_of, scores,
};
use crate::{Output, TrainError, metrics::regression};

const NAME: &str = "regress";

/// A number a sequence, by squared error.
///
/// Of two evaluations that of the lower mean squared error is better, if nothing else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regression;

impl Objective for Regression {
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
        Some("regression")
    }

    fn pipeline_tag(&self) -> &'static str {
        "text-classification"
    }

    fn summary(&self) -> &'static str {
        "It predicts a number"
    }

    fn head(&self) -> HeadNeed {
        HeadNeed::Sequence { outputs: 1 }
    }

    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError> {
        let Truth::Numbers(values) = truth else {
            return Err(other_truth(self, truth));
        };
        let data = TensorData::new(values.to_vec(), [values.len(), 1]);
        Ok(Targets::Numbers(Tensor::from_data(data, device)))
    }

    fn loss(&self, output: Output, targets: Targets) -> Tensor<1> {
        let Targets::Numbers(values) = targets else {
            panic!("the targets of a regression are numbers");
        };
        let outputs = expect_scores(output);
        let values = values.cast(outputs.dtype());
        (outputs - values).powi_scalar(2).mean()
    }

    fn predict(&self, output: Output, _: Option<&Truth>) -> Result<Vec<Prediction>, TrainError> {
        let rows = rows_of(scores(self, output)?).into_iter();
        Ok(rows.map(|row| Prediction::Number(row[0])).collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Numbers::default())
    }

    fn main_metric(&self) -> &'static str {
        "pearson"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["loss", "mse", "pearson", "spearman"]
    }

    fn metric_range(&self) -> (f64, f64) {
        (-1.0, 1.0)
    }
}

/// All of them, for ranks are of all rows.
#[derive(Debug, Default)]
struct Numbers {
    predicted: Vec<f32>,
    actual: Vec<f32>,
}

impl Tally for Numbers {
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError> {
        let Truth::Numbers(actual) = truth else {
            return Err(incomparable(NAME));
        };
        if predictions.len() != actual.len() {
            return Err(incomparable(NAME));
        }
        for prediction in predictions {
            let Prediction::Number(value) = prediction else {
                return Err(incomparable(NAME));
            };
            self.predicted.push(*value);
        }
        self.actual.extend(*actual);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError> {
        if self.actual.is_empty() {
            return Err(nothing(NAME));
        }
        let metrics = regression(&self.predicted, &self.actual);
        Ok(Evaluation {
            loss: metrics["mse"],
            metrics,
            rows: self.actual.len(),
            confusion: None,
        })
    }
}
