//! Predictions and how good they are.

use burn::tensor::{
    Device,
    activation::{sigmoid, softmax},
};
use peft_core::AdapterContext;
use peft_data::{BatchPlan, Dataset, Labels, Task};
use peft_models::{PackedBatch, SequenceModel};
use serde::{Deserialize, Serialize};

use crate::{Metrics, TrainError, classification, metrics, multi_label, regression};

/// The prediction of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Probabilities of the classes.
    Class(Vec<f32>),
    /// A number.
    Number(f32),
    /// The probability of each label by itself.
    Labels(Vec<f32>),
}

impl Prediction {
    /// The most probable class; the first of equals.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(probabilities) => {
                let mut best = 0;
                for (index, p) in probabilities.iter().enumerate() {
                    if *p > probabilities[best] {
                        best = index;
                    }
                }
                Some(best as u32)
            }
            Self::Number(_) | Self::Labels(_) => None,
        }
    }
}

/// An evaluation on labelled rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// The task's metrics.
    #[serde(deserialize_with = "metrics::deserialize")]
    pub metrics: Metrics,
    /// Rows.
    pub rows: usize,
}

/// `−ln p`. A probability that underflowed costs much, not infinitely much; NaN stays NaN.
fn surprisal(p: f32) -> f64 {
    let least = f32::MIN_POSITIVE;
    -f64::from(if p < least { least } else { p }).ln()
}

/// Predict every row, in the data set's order.
///
/// # Errors
/// If a row does not fit the model.
pub fn predict(
    model: &SequenceModel,
    data: &Dataset,
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Prediction>, TrainError> {
    let mut predictions = vec![Prediction::Number(f32::NAN); data.len()];
    let plan = BatchPlan::sequential(&data.lengths(), batch_size)?;
    for rows in plan.iter_from(0) {
        let batch = data.batch(rows)?;
        let packed = PackedBatch::new(
            model.config(),
            &batch.ids,
            &batch.type_ids,
            &batch.row_starts,
            device,
        )?;
        let outputs = model.forward(&packed, &AdapterContext::inference());
        let [_, width] = outputs.dims();
        let outputs = match task {
            Task::Classify => softmax(outputs, 1),
            Task::Regress => outputs,
            Task::MultiLabel => sigmoid(outputs),
        };
        let values: Vec<f32> = outputs.into_data().iter::<f32>().collect();
        for (row, values) in batch.indices.iter().zip(values.chunks(width)) {
            predictions[*row] = match task {
                Task::Classify => Prediction::Class(values.to_vec()),
                Task::Regress => Prediction::Number(values[0]),
                Task::MultiLabel => Prediction::Labels(values.to_vec()),
            };
        }
    }
    Ok(predictions)
}

/// Predict labelled rows and compare.
///
/// # Errors
/// If the rows have no labels, or do not fit the model.
pub fn evaluate(
    model: &SequenceModel,
    data: &Dataset,
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation, TrainError> {
    let predictions = predict(model, data, task, batch_size, device)?;
    let rows = predictions.len();
    match &data.labels() {
        Labels::Classes(actual) => {
            let mut loss = 0.0;
            let mut classes = 0;
            for (prediction, label) in predictions.iter().zip(actual) {
                if let Prediction::Class(probabilities) = prediction {
                    classes = probabilities.len();
                    loss += surprisal(probabilities[*label as usize]);
                }
            }
            let predicted: Vec<u32> = predictions.iter().filter_map(Prediction::class).collect();
            let metrics = classification(&predicted, actual, classes);
            Ok(Evaluation {
                loss: loss / rows as f64,
                metrics,
                rows,
            })
        }
        Labels::Numbers(actual) => {
            let predicted: Vec<f32> = predictions
                .iter()
                .map(|p| match p {
                    Prediction::Number(value) => *value,
                    Prediction::Class(_) | Prediction::Labels(_) => f32::NAN,
                })
                .collect();
            let metrics = regression(&predicted, actual);
            Ok(Evaluation {
                loss: metrics["mse"],
                metrics,
                rows,
            })
        }
        Labels::MultiHot {
            values: actual,
            width,
        } => {
            let predicted: Vec<f32> = predictions
                .iter()
                .flat_map(|p| match p {
                    Prediction::Labels(probabilities) => probabilities.as_slice(),
                    Prediction::Class(_) | Prediction::Number(_) => &[],
                })
                .copied()
                .collect();
            let mut loss = 0.0;
            for (p, z) in predicted.iter().zip(actual) {
                loss += surprisal(if *z > 0.5 { *p } else { 1.0 - *p });
            }
            Ok(Evaluation {
                loss: loss / actual.len() as f64,
                metrics: multi_label(&predicted, actual, *width),
                rows,
            })
        }
        Labels::None => Err(TrainError::setting(
            "--data",
            "the rows have no labels to compare with",
            "name the column with --label-column, or use `peft predict`",
        )),
    }
}
