//! Predictions and how good they are.

use burn::tensor::{
    Device,
    activation::{sigmoid, softmax},
};
use peft_core::{AdapterChoice, AdapterContext, AdapterRoster};
use peft_data::{BatchPlan, DataError, Dataset, Labels, Task};
use peft_models::{PackedBatch, SequenceModel};
use serde::{Deserialize, Serialize};

use peft_train::metrics::{self, Confusion, LabelHits, Metrics, regression};

use crate::RunError;

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
) -> Result<Vec<Prediction>, RunError> {
    predict_each(model, data, task, batch_size, device, None)
}

/// Predict every row by the adapters that it [chooses](Dataset::choices) among the
/// [choices](AdapterRoster::choices) of the model's roster, in the data set's order: rows of all adapters
/// share the batches.
///
/// # Errors
/// If rows do not choose, choose what the model cannot do, or do not fit the model.
pub fn predict_by_rows(
    model: &SequenceModel,
    roster: &AdapterRoster,
    data: &Dataset,
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Prediction>, RunError> {
    let of_rows = data.choices().ok_or_else(|| {
        RunError::setting(
            "--data",
            "its rows choose no adapters",
            "name the column with --adapter-column",
        )
    })?;
    let names = roster.choices();
    if of_rows.iter().any(|id| *id as usize >= names.len()) {
        return Err(RunError::setting(
            "--data",
            "its rows choose among other adapters than the model's",
            "load it with AdapterRoster::choices as the names",
        ));
    }
    let chosen = Chosen {
        roster,
        choices: names.iter().map(|name| AdapterChoice::one(name)).collect(),
        of_rows,
    };
    predict_each(model, data, task, batch_size, device, Some(&chosen))
}

/// What the rows of a data set choose.
struct Chosen<'a> {
    roster: &'a AdapterRoster,
    /// What may be chosen.
    choices: Vec<AdapterChoice>,
    /// Which of it each row does.
    of_rows: Vec<u32>,
}

impl Chosen<'_> {
    /// A batch of these rows, with what they choose.
    fn on(&self, batch: PackedBatch, rows: &[usize]) -> Result<PackedBatch, RunError> {
        let choice = |row: &usize| self.choices[self.of_rows[*row] as usize].clone();
        let choices: Vec<AdapterChoice> = rows.iter().map(choice).collect();
        Ok(batch.with_adapters(self.roster, &choices)?)
    }
}

/// Predict every row, by what it chooses if rows do.
fn predict_each(
    model: &SequenceModel,
    data: &Dataset,
    task: Task,
    batch_size: usize,
    device: &Device,
    chosen: Option<&Chosen>,
) -> Result<Vec<Prediction>, RunError> {
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
        let packed = match chosen {
            Some(chosen) => chosen.on(packed, &batch.indices)?,
            None => packed,
        };
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
) -> Result<Evaluation, RunError> {
    let mut scores = Scores::default();
    scores.add(
        &predict(model, data, task, batch_size, device)?,
        &data.labels(),
    )?;
    scores.finish()
}

/// As [`evaluate`], of rows that come in parts: memory does not grow with their number, but for the
/// predictions of a regression, whose ranks are of all rows.
///
/// # Errors
/// As [`evaluate`], and those of the parts.
pub fn evaluate_parts(
    model: &SequenceModel,
    parts: impl Iterator<Item = Result<Dataset, DataError>>,
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation, RunError> {
    score_parts(parts, |part| predict(model, part, task, batch_size, device))
}

/// As [`evaluate_parts`], of rows that choose their adapters: see [`predict_by_rows`].
///
/// # Errors
/// As [`evaluate_parts`] and [`predict_by_rows`].
pub fn evaluate_parts_by_rows(
    model: &SequenceModel,
    roster: &AdapterRoster,
    parts: impl Iterator<Item = Result<Dataset, DataError>>,
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation, RunError> {
    score_parts(parts, |part| {
        predict_by_rows(model, roster, part, task, batch_size, device)
    })
}

fn score_parts(
    parts: impl Iterator<Item = Result<Dataset, DataError>>,
    predict: impl Fn(&Dataset) -> Result<Vec<Prediction>, RunError>,
) -> Result<Evaluation, RunError> {
    let mut scores = Scores::default();
    for part in parts {
        let part = part?;
        scores.add(&predict(&part)?, &part.labels())?;
    }
    scores.finish()
}

/// Predictions compared so far. Sums run row by row, so that parts of any size give the same.
#[derive(Default)]
struct Scores {
    rows: usize,
    /// Sum over rows, or over rows and labels.
    loss: f64,
    kind: Option<Kind>,
}

enum Kind {
    Classes(Confusion),
    Numbers(Vec<f32>, Vec<f32>),
    Labels(LabelHits, usize),
}

impl Scores {
    fn add(&mut self, predictions: &[Prediction], actual: &Labels) -> Result<(), RunError> {
        self.rows += predictions.len();
        match actual {
            Labels::Classes(actual) => {
                for (prediction, label) in predictions.iter().zip(actual) {
                    let (Prediction::Class(probabilities), Some(class)) =
                        (prediction, prediction.class())
                    else {
                        continue;
                    };
                    self.loss += surprisal(probabilities[*label as usize]);
                    let fresh = || Kind::Classes(Confusion::new(probabilities.len()));
                    if let Kind::Classes(counts) = self.kind.get_or_insert_with(fresh) {
                        counts.add(class, *label);
                    }
                }
            }
            Labels::Numbers(actual) => {
                let fresh = || Kind::Numbers(Vec::new(), Vec::new());
                if let Kind::Numbers(all, truth) = self.kind.get_or_insert_with(fresh) {
                    truth.extend(actual);
                    all.extend(predictions.iter().map(|p| match p {
                        Prediction::Number(value) => *value,
                        Prediction::Class(_) | Prediction::Labels(_) => f32::NAN,
                    }));
                }
            }
            Labels::MultiHot { values, width } => {
                let fresh = || Kind::Labels(LabelHits::new(*width), *width);
                let Kind::Labels(hits, _) = self.kind.get_or_insert_with(fresh) else {
                    return Ok(());
                };
                for (prediction, actual) in predictions.iter().zip(values.chunks(*width)) {
                    let Prediction::Labels(probabilities) = prediction else {
                        continue;
                    };
                    for (p, z) in probabilities.iter().zip(actual) {
                        self.loss += surprisal(if *z > 0.5 { *p } else { 1.0 - *p });
                    }
                    hits.add(probabilities, actual);
                }
            }
            Labels::None => return Err(unlabelled()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Evaluation, RunError> {
        let rows = self.rows;
        let (loss, metrics) = match self.kind {
            None => return Err(unlabelled()),
            Some(Kind::Classes(counts)) => (self.loss / rows as f64, counts.metrics()),
            Some(Kind::Numbers(predicted, actual)) => {
                let metrics = regression(&predicted, &actual);
                (metrics["mse"], metrics)
            }
            Some(Kind::Labels(hits, width)) => (self.loss / (rows * width) as f64, hits.metrics()),
        };
        Ok(Evaluation {
            loss,
            metrics,
            rows,
        })
    }
}

fn unlabelled() -> RunError {
    RunError::setting(
        "--data",
        "the rows have no labels to compare with",
        "name the column with --label-column, or use `peft predict`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The evaluation of predictions that come in parts cut at these places.
    fn scored(predictions: &[Prediction], actual: &Labels, cuts: &[usize]) -> Evaluation {
        let mut scores = Scores::default();
        let mut start = 0;
        for end in cuts.iter().copied().chain([predictions.len()]) {
            let labels = match actual {
                Labels::Classes(all) => Labels::Classes(all[start..end].to_vec()),
                Labels::Numbers(all) => Labels::Numbers(all[start..end].to_vec()),
                Labels::MultiHot { values, width } => Labels::MultiHot {
                    values: values[start * width..end * width].to_vec(),
                    width: *width,
                },
                Labels::None => Labels::None,
            };
            scores.add(&predictions[start..end], &labels).unwrap();
            start = end;
        }
        scores.finish().unwrap()
    }

    #[test]
    fn parts_of_any_size_give_every_bit_of_the_whole() {
        const ROWS: usize = 97;
        let p = |row: usize, k: usize| (((row * 31 + k * 17) % 89) as f32 + 1.0) / 91.0;
        let rows = || 0..ROWS;
        let classes = rows().map(|r| Prediction::Class(vec![p(r, 0), p(r, 1), p(r, 2)]));
        let numbers = rows().map(|r| Prediction::Number(p(r, 3)));
        let labels = rows().map(|r| Prediction::Labels(vec![p(r, 4), p(r, 5)]));
        let cases = [
            (
                classes.collect::<Vec<_>>(),
                Labels::Classes(rows().map(|r| (r % 3) as u32).collect()),
            ),
            (
                numbers.collect(),
                Labels::Numbers(rows().map(|r| p(r, 6)).collect()),
            ),
            (
                labels.collect(),
                Labels::MultiHot {
                    values: (0..2 * ROWS).map(|i| (i % 5 / 3) as f32).collect(),
                    width: 2,
                },
            ),
        ];
        for (predictions, actual) in &cases {
            let whole = scored(predictions, actual, &[]);
            assert_eq!(whole.rows, ROWS);
            for cuts in [vec![1], vec![50, 96], (1..ROWS).collect()] {
                assert_eq!(scored(predictions, actual, &cuts), whole, "{cuts:?}");
            }
        }
    }

    #[test]
    fn rows_without_labels_cannot_be_measured() {
        assert!(Scores::default().finish().is_err());
        assert!(Scores::default().add(&[], &Labels::None).is_err());
    }
}
