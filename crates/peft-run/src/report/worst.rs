//! The rows that a model is furthest off on.

use std::{fs, path::Path};

use peft_data::{Dataset, Labels, TextTokenizer};
use peft_format::atomic::write_atomic_bytes;
use peft_train::{Evaluation, Prediction};
use serde::{Deserialize, Serialize};

use crate::{RunError, event::fault};

/// Name of the file in an output folder.
pub(crate) const WORST: &str = "worst_rows.jsonl";
/// Letters of a text that are kept.
const LETTERS: usize = 400;
/// More than the rows of any setting need.
const LIMIT: u64 = 64 << 20;

/// An evaluation, and the prediction of every row.
pub(crate) type Evaluated = (Evaluation, Vec<Prediction>);

/// A row, and how far off the model is on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstRow {
    /// Which of the rows of its file it is, counted from 0, as `peft predict` counts.
    pub index: usize,
    /// `selection` or `report`.
    pub split: String,
    /// Its loss.
    pub loss: f64,
    /// What it is.
    pub truth: String,
    /// What the model takes it for; nothing for language models.
    pub prediction: String,
    /// The probability that the model gives to the prediction, where it has one.
    pub probability: Option<f64>,
    /// Its text as the model reads it, cut to 400 letters.
    pub text: String,
}

/// The `most` rows of the highest loss, the worst first; of equal ones the earlier.
pub(crate) fn worst_rows(
    data: &Dataset,
    split: &str,
    predictions: &[Prediction],
    labels: &[String],
    tokenizer: &TextTokenizer,
    most: usize,
) -> Vec<WorstRow> {
    let all = data.labels();
    // Labels of words are as many as a row has tokens.
    let of_row = |row: usize| match &all {
        Labels::Words { .. } => data.batch(&[row]).ok().map(|batch| batch.labels),
        _ => None,
    };
    let mut costs: Vec<(usize, f64)> = (predictions.iter().enumerate())
        .filter_map(|(row, prediction)| {
            let own = of_row(row);
            let truth = own.as_ref().unwrap_or(&all);
            Some((row, cost(prediction, truth, row)?))
        })
        .collect();
    costs.sort_by(|a, b| b.1.total_cmp(&a.1));
    costs.truncate(most);
    let of = |(row, loss): (usize, f64)| {
        let own = of_row(row);
        let truth = own.as_ref().unwrap_or(&all);
        let (truth, prediction, probability) = words(&predictions[row], truth, row, labels);
        WorstRow {
            index: data.loaded_row(row).unwrap_or(row),
            split: split.to_owned(),
            loss,
            truth,
            prediction,
            probability,
            text: text(data, row, tokenizer),
        }
    };
    costs.into_iter().map(of).collect()
}

/// The loss of a row by itself; none where it and its prediction do not belong together.
fn cost(prediction: &Prediction, truth: &Labels, row: usize) -> Option<f64> {
    match (prediction, truth) {
        (Prediction::Class { scores, .. }, Labels::Classes(classes)) => {
            surprise(scores, *classes.get(row)?)
        }
        (Prediction::Number(value), Labels::Numbers(numbers)) => {
            Some((f64::from(*value) - f64::from(*numbers.get(row)?)).powi(2))
        }
        (Prediction::Labels { scores, .. }, Labels::MultiHot { values, width }) => {
            let truth = values.get(row * width..(row + 1) * width)?;
            let each = scores.iter().zip(truth).map(|(score, has)| {
                // ln(1 + exp(−s)) of the side that is true.
                let away = f64::from(*score) * if *has > 0.5 { -1.0 } else { 1.0 };
                away.max(0.0) + (-away.abs()).exp().ln_1p()
            });
            Some(each.sum::<f64>() / (*width).max(1) as f64)
        }
        (Prediction::Words { scores, .. }, Labels::Words { classes, .. }) if !scores.is_empty() => {
            let pairs = scores.iter().zip(word_classes(classes));
            let costs: Option<Vec<f64>> = pairs
                .map(|(scores, class)| surprise(scores, class))
                .collect();
            costs.map(|costs| costs.iter().sum::<f64>() / costs.len() as f64)
        }
        (Prediction::Tokens(costs), _) if !costs.is_empty() => {
            Some(costs.iter().sum::<f64>() / costs.len() as f64)
        }
        _ => None,
    }
}

/// `−ln p` of a class, by the scores of all.
fn surprise(scores: &[f32], class: u32) -> Option<f64> {
    let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
    Some(most + sum.ln() - scores.get(class as usize)?)
}

/// Classes of the words among those of all tokens.
fn word_classes(classes: &[u32]) -> impl Iterator<Item = u32> + '_ {
    classes
        .iter()
        .copied()
        .filter(|class| *class != Labels::IGNORED)
}

/// What a row is, what it is taken for, and how surely.
fn words(
    prediction: &Prediction,
    truth: &Labels,
    row: usize,
    labels: &[String],
) -> (String, String, Option<f64>) {
    let name = |class: usize| {
        labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    match (prediction, truth) {
        (Prediction::Class { probabilities, .. }, Labels::Classes(classes)) => {
            let class = prediction.class().unwrap_or(0) as usize;
            let probability = probabilities.get(class).map(|p| f64::from(*p));
            let truth = classes
                .get(row)
                .map_or(String::new(), |class| name(*class as usize));
            (truth, name(class), probability)
        }
        (Prediction::Number(value), Labels::Numbers(numbers)) => {
            let truth = numbers.get(row).map_or(String::new(), f32::to_string);
            (truth, value.to_string(), None)
        }
        (Prediction::Labels { probabilities, .. }, Labels::MultiHot { values, width }) => {
            let list = |on: &[f32]| {
                let on = on.iter().enumerate().filter(|(_, value)| **value >= 0.5);
                on.map(|(class, _)| name(class))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let truth = values
                .get(row * width..(row + 1) * width)
                .unwrap_or_default();
            (list(truth), list(probabilities), None)
        }
        (Prediction::Words { .. }, Labels::Words { classes, .. }) => {
            let all = |classes: &mut dyn Iterator<Item = u32>| {
                classes
                    .map(|class| name(class as usize))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let predicted = prediction.classes().unwrap_or_default();
            (
                all(&mut word_classes(classes)),
                all(&mut predicted.into_iter()),
                None,
            )
        }
        _ => Default::default(),
    }
}

fn text(data: &Dataset, row: usize, tokenizer: &TextTokenizer) -> String {
    let ids = data.ids(row).unwrap_or_default();
    // A letter takes a token at most.
    let read = tokenizer.decode(&ids[..ids.len().min(LETTERS)], true);
    let read = read.unwrap_or_default();
    match read.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &read[..end]),
        None => read,
    }
}

/// Write the rows into an output folder; where there are none, remove what is there of them.
pub(crate) fn write(rows: &[WorstRow], output: &Path) -> Result<(), RunError> {
    let path = output.join(WORST);
    if rows.is_empty() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(&path, &error)),
            _ => Ok(()),
        };
    }
    let mut text = Vec::new();
    for row in rows {
        text.extend(serde_json::to_vec(row).unwrap_or_default());
        text.push(b'\n');
    }
    Ok(write_atomic_bytes(&path, &text)?)
}

/// The rows of an output folder; lines that are none are passed over.
pub(crate) fn read(output: &Path) -> Vec<WorstRow> {
    let path = output.join(WORST);
    match fs::metadata(&path) {
        Ok(file) if file.len() <= LIMIT => {}
        _ => return Vec::new(),
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_rows_are_those_of_the_objectives() {
        let class = |scores: Vec<f32>| Prediction::Class {
            probabilities: vec![0.0; scores.len()],
            scores,
        };
        let truth = Labels::Classes(vec![1, 0]);
        let loss = cost(&class(vec![2.0, 0.0]), &truth, 0).unwrap();
        assert!((loss - (1.0 + 2f64.exp()).ln()).abs() < 1e-12, "{loss}");
        // Far beyond where a probability in f32 is 0.
        let far = cost(&class(vec![1e4, 0.0]), &truth, 0).unwrap();
        assert_eq!(far, 1e4);
        let labels = Prediction::Labels {
            scores: vec![0.0, -300.0],
            probabilities: vec![0.5, 0.0],
        };
        let truth = Labels::MultiHot {
            values: vec![1.0, 1.0],
            width: 2,
        };
        let loss = cost(&labels, &truth, 0).unwrap();
        assert!((loss - (2f64.ln() + 300.0) / 2.0).abs() < 1e-12, "{loss}");
        assert_eq!(cost(&labels, &truth, 1), None);
        let number = cost(&Prediction::Number(1.5), &Labels::Numbers(vec![1.0]), 0);
        assert_eq!(number, Some(0.25));
        let tokens = Prediction::Tokens(vec![1.0, 2.0]);
        assert_eq!(cost(&tokens, &Labels::None, 0), Some(1.5));
        assert_eq!(
            cost(&Prediction::Tokens(Vec::new()), &Labels::None, 0),
            None
        );
    }

    #[test]
    fn rows_read_back_and_no_rows_leave_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let row = WorstRow {
            index: 3,
            split: "selection".into(),
            loss: 2.5,
            truth: "a\n".into(),
            prediction: "b".into(),
            probability: Some(0.875),
            text: "\"quoted\"".into(),
        };
        write(std::slice::from_ref(&row), dir.path()).unwrap();
        assert_eq!(read(dir.path()), [row]);
        write(&[], dir.path()).unwrap();
        write(&[], dir.path()).unwrap();
        assert!(read(dir.path()).is_empty() && !dir.path().join(WORST).exists());
    }
}
